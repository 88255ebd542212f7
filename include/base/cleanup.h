/* Release at end of scope. Variables start as "nothing"; ownership leaves through a steal. */
#ifndef PLOOP_BASE_CLEANUP_H
#define PLOOP_BASE_CLEANUP_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define DEFINE_AUTO(type, name, release, nothing)                                         \
	static inline void name##_autop(type *p)                                          \
	{                                                                                 \
		int saved = errno;                                                        \
		if (*p != (nothing))                                                      \
			release(*p);                                                      \
		errno = saved;                                                            \
	}                                                                                 \
	static inline type name##_steal(type *p)                                          \
	{                                                                                 \
		type v = *p;                                                              \
		*p = (nothing);                                                           \
		return v;                                                                 \
	}

DEFINE_AUTO(int, fd, close, -1) /* autofd int fd = open(…);  …  *out = fd_steal(&fd); */
#define autofd __attribute__((cleanup(fd_autop)))

static inline void mem_autop(void *p)
{
	free(*(void **)p);
}
#define autofree __attribute__((cleanup(mem_autop)))

static inline void *mem_steal_(void *p)
{
	void *v = *(void **)p;
	*(void **)p = NULL;
	return v;
}
#define mem_steal(p) ((__typeof__(*(p)))mem_steal_(p))

#endif
