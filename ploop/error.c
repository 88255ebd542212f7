/* The sentence of the last failure, one fixed buffer per thread: it works without memory. */
#include "ploop.h"

#include <stdio.h>
#include <string.h>

static _Thread_local char sentence[1024];

const char *pl_error(void)
{
	return sentence;
}

void pl_error_clear(void)
{
	sentence[0] = '\0';
}

int pl_fail(int err, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	return err;
}

int pl_wrap(int err, const char *fmt, ...)
{
	char inner[sizeof(sentence)];
	memcpy(inner, sentence, sizeof(inner));

	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(sentence))
		snprintf(sentence + n, sizeof(sentence) - (size_t)n, ": %s", inner);
	return err;
}
