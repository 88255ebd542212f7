#include "cli/served.h"

#include "cli/resolve.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int join(char **out, int folder_bytes, const char *folder, const char *name)
{
	if (asprintf(out, "%.*s%s", folder_bytes, folder, name) >= 0)
		return 0;
	*out = NULL;
	return pl_fail(-ENOMEM, "no memory for a path");
}

static int of_device(const struct pl_device *d, const char *word, char **out)
{
	if (!d->bundle[0])
		return pl_fail(-ENOTSUP, "%s is a list of images without a descriptor: its server cannot be asked",
			       word);
	return join(out, (int)strlen(d->bundle), d->bundle, "");
}

int served_descriptor(const char *word, char **out)
{
	struct stat st;
	struct pl_device *device;
	if (pl_device_find(word, NULL, &device) == 0) {
		int r = of_device(device, word, out);
		pl_device_free(device);
		return r;
	}
	if (stat(word, &st) != 0)
		return pl_fail(-errno, "%s: %s", word, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return join(out, (int)strlen(word), word, "/" DESCRIPTOR_NAME);
	if (disk_word_is_descriptor(word))
		return join(out, (int)strlen(word), word, "");
	const char *slash = strrchr(word, '/');
	return join(out, slash ? (int)(slash - word) + 1 : 0, word, DESCRIPTOR_NAME);
}

int served_sockets(const char *word, char ***out)
{
	autofree char *descriptor = NULL;
	int r = served_descriptor(word, &descriptor);
	return r < 0 ? r : pl_control_list(descriptor, out);
}

int served_socket(const char *word, char *out, size_t out_bytes)
{
	autofree char *descriptor = NULL;
	int r = served_descriptor(word, &descriptor);
	return r < 0 ? r : pl_control_path(descriptor, out, out_bytes);
}

int served_connect(const char *word, struct pl_live **out)
{
	char path[4096];
	int r = served_socket(word, path, sizeof(path));
	if (r == 0)
		r = pl_live_connect_at(path, out);
	if (r == -ENOENT)
		return pl_fail(r, "%s: no server has it open for writing", word);
	return r;
}
