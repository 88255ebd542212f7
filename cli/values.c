/* Values on the command line, read as the stock tool reads them. */
#include "cli/command.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SIZE_LIMIT_SECTORS (UINT64_C(0xFFFFFFFF) * 512)

/* A C integer without sign; *@end is what follows it. */
static int read_integer(const char *text, uint64_t *number, const char **end)
{
	if (!isdigit((unsigned char)text[0]))
		return pl_fail(-EINVAL, "Invalid argument: \"%s\" is not a number", text);
	char *stop;
	errno = 0;
	unsigned long long value = strtoull(text, &stop, 0);
	if (errno == ERANGE)
		return pl_fail(-ERANGE, "Too large value: %s", text);
	*number = value;
	*end = stop;
	return 0;
}

int cli_parse_number(const char *text, uint64_t *number)
{
	uint64_t value;
	const char *end;
	int r = read_integer(text, &value, &end);
	if (r < 0)
		return r;
	if (*end)
		return pl_fail(-EINVAL, "Invalid argument: \"%s\" is not a plain number", text);
	*number = value;
	return 0;
}

/* Sectors per unit of a size suffix; 0: no such suffix. A size without one is in sectors. */
static uint64_t sectors_of_suffix(char suffix)
{
	switch (toupper((unsigned char)suffix)) {
	case '\0':
		return 1;
	case 'K':
		return KIB / SECTOR_BYTES;
	case 'M':
		return MIB / SECTOR_BYTES;
	case 'G':
		return GIB / SECTOR_BYTES;
	case 'T':
		return TIB / SECTOR_BYTES;
	default:
		return 0;
	}
}

int cli_parse_size(const char *text, uint64_t *sectors)
{
	uint64_t value;
	const char *end;
	int r = read_integer(text, &value, &end);
	if (r < 0)
		return r;
	uint64_t unit = sectors_of_suffix(*end);
	if (unit == 0 || (end[0] && end[1]))
		return pl_fail(-EINVAL, "Invalid argument: \"%s\" is not a size (a number and one of K M G T)", text);
	if (value >= div_up(SIZE_LIMIT_SECTORS, unit))
		return pl_fail(-ERANGE, "Too large value: %s, the limit is %llu sectors", text,
			       (unsigned long long)SIZE_LIMIT_SECTORS);
	*sectors = value * unit;
	return 0;
}

int cli_parse_uuid(const char *text, struct cli_uuid *uuid)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t length = strlen(text);
	bool braces = length == PL_GUID_TEXT && text[0] == '{' && text[length - 1] == '}';
	if (!braces && length != strlen(shape))
		return pl_fail(-EINVAL, "Incorrect uuid %s", text);

	struct cli_uuid out = {"{"};
	const char *from = text + (braces ? 1 : 0);
	for (size_t i = 0; i < strlen(shape); i++) {
		unsigned char c = (unsigned char)from[i];
		if (shape[i] == '-' ? c != '-' : !isxdigit(c))
			return pl_fail(-EINVAL, "Incorrect uuid %s", text);
		out.text[1 + i] = (char)tolower(c);
	}
	out.text[PL_GUID_TEXT - 1] = '}';
	*uuid = out;
	return 0;
}

int cli_parse_partial(const char *text, bool *partial)
{
	*partial = !text || strcmp(text, "on") == 0;
	if (*partial || strcmp(text, "off") == 0)
		return 0;
	return cli_misuse("--partial %s is neither on nor off", text);
}

int cli_random_uuid(struct cli_uuid *uuid)
{
	uint8_t b[16];
	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		return pl_fail(-EIO, "getrandom: %s", strerror(errno));
	b[6] = (b[6] & 0x0F) | 0x40; /* version 4 */
	b[8] = (b[8] & 0x3F) | 0x80;
	snprintf(uuid->text, sizeof(uuid->text),
		 "{%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x}", b[0], b[1], b[2], b[3], b[4],
		 b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
	return 0;
}

int cli_parse_format(const char *text, struct cli_format *format)
{
	static const struct {
		const char *name;
		enum pl_image_mode mode;
	} names[] = {
		{"raw", PL_MODE_RAW},
		{"ploop1", PL_MODE_EXPANDED},
		{"expanded", PL_MODE_EXPANDED},
		{"preallocated", PL_MODE_PREALLOCATED},
	};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(names[i].name, text) == 0) {
			*format = (struct cli_format){true, names[i].mode};
			return 0;
		}
	}
	return pl_fail(-EINVAL, "Incorrect format %s: raw, ploop1, expanded or preallocated", text);
}

int cli_parse_on_full(const char *text, enum pl_on_full *what)
{
	bool fails = strcmp(text, "fail") == 0;
	if (!fails && strcmp(text, "wait") != 0)
		return pl_fail(-EINVAL, "--on-full %s: want wait or fail", text);
	*what = fails ? PL_FULL_FAILS : PL_FULL_WAITS;
	return 0;
}
