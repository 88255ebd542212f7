/* Unaligned loads and stores in a fixed byte order: little-endian for images, big-endian for NBD and GUID text. */
#ifndef PLOOP_BASE_BYTEORDER_H
#define PLOOP_BASE_BYTEORDER_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define DEFINE_LOAD_STORE(order, bits)                                                    \
	static inline uint##bits##_t load_##order##bits(const void *p)                    \
	{                                                                                 \
		uint##bits##_t v;                                                         \
		memcpy(&v, p, sizeof(v));                                                 \
		return order##bits##toh(v);                                               \
	}                                                                                 \
	static inline void store_##order##bits(void *p, uint##bits##_t v)                 \
	{                                                                                 \
		v = hto##order##bits(v);                                                  \
		memcpy(p, &v, sizeof(v));                                                 \
	}

DEFINE_LOAD_STORE(le, 16)
DEFINE_LOAD_STORE(le, 32)
DEFINE_LOAD_STORE(le, 64)
DEFINE_LOAD_STORE(be, 16)
DEFINE_LOAD_STORE(be, 32)
DEFINE_LOAD_STORE(be, 64)

#endif
