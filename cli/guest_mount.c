/* Mounting goes through libmount, which knows every option and which of them are flags; no helper programs are run. */
#include "cli/guest_mount.h"

#include "base/cleanup.h"
#include "base/wait.h"
#include "cli/interrupt.h"
#include "cli/program.h"

#include <errno.h>
#include <libmount/libmount.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

/* Bits of the exit status of fsck. */
#define FSCK_CORRECTED 1
#define FSCK_REBOOT    2

int guest_type(const char *source, char type[GUEST_TYPE_BYTES])
{
	int ambiguous = 0;
	autofree char *found = mnt_get_fstype(source, &ambiguous, NULL);
	if (ambiguous)
		return pl_fail(-EMEDIUMTYPE, "%s carries more than one file system's signature: give the type with -t",
			       source);
	if (!found || strlen(found) >= GUEST_TYPE_BYTES)
		return pl_fail(-EMEDIUMTYPE, "%s: there is no file system that is known here", source);
	memcpy(type, found, strlen(found) + 1);
	return 0;
}

static bool is_ext(const char *type)
{
	return strncmp(type, "ext", 3) == 0;
}

int guest_fsck(const char *source, const char *type)
{
	char program[GUEST_TYPE_BYTES + 8];
	snprintf(program, sizeof(program), "fsck.%s", type);
	const char *const ext[] = {program, "-f", "-p", source, NULL};
	const char *const other[] = {program, "-a", source, NULL};
	int status = program_run(is_ext(type) ? ext : other, false);
	if (status < 0)
		return status;
	if (status & ~(FSCK_CORRECTED | FSCK_REBOOT))
		return pl_wrap(-EUCLEAN, "check of %s", source);
	pl_error_clear();
	return 0;
}

/* ------------------------------------------------------------------ options */

static const struct {
	const char *type, *rw, *ro, *quota;
} defaults[] = {
	{"ext4", "", "", "usrjquota=aquota.user,grpjquota=aquota.group,jqfmt=vfsv0"},
	{"ext3", "", "", "usrjquota=aquota.user,grpjquota=aquota.group,jqfmt=vfsv0"},
	{"xfs", "nouuid", "norecovery,nouuid", "uqnoenforce,pqnoenforce"},
};

int guest_add_option(char data[GUEST_DATA_BYTES], const char *option, size_t bytes)
{
	size_t used = strlen(data);
	if (bytes == 0)
		return 0;
	int n = snprintf(data + used, GUEST_DATA_BYTES - used, "%s%.*s", used ? "," : "", (int)bytes, option);
	return (size_t)n < GUEST_DATA_BYTES - used ? 0 : pl_fail(-E2BIG, "mount options are longer than %d bytes",
								GUEST_DATA_BYTES);
}

/* balloon_ino= hides a file on Virtuozzo kernels; stock ones refuse it. */
static int add_user_options(char data[GUEST_DATA_BYTES], const char *user)
{
	int r = 0;
	while (user && *user && r == 0) {
		size_t bytes = strcspn(user, ",");
		if (strncmp(user, "balloon_ino=", strlen("balloon_ino=")) != 0)
			r = guest_add_option(data, user, bytes);
		user += bytes + (user[bytes] == ',');
	}
	return r;
}

int guest_options(const char *type, bool readonly, bool quota, const char *user, char data[GUEST_DATA_BYTES])
{
	int r = 0;
	data[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(defaults) && r == 0; i++) {
		if (strcmp(defaults[i].type, type) != 0)
			continue;
		const char *own = readonly ? defaults[i].ro : defaults[i].rw;
		r = guest_add_option(data, own, strlen(own));
		if (r == 0 && quota)
			r = guest_add_option(data, defaults[i].quota, strlen(defaults[i].quota));
	}
	if (r == 0)
		r = add_user_options(data, user);
	return r == 0 ? guest_add_option(data, "lazytime", strlen("lazytime")) : r;
}

/* ------------------------------------------------------------------ mount */

DEFINE_AUTO(struct libmnt_context *, context, mnt_free_context, NULL)

static int mount_once(const char *source, const char *mount_point, const char *type, const char *data, bool readonly,
		      const char *helper)
{
	char mark[64];
	__attribute__((cleanup(context_autop))) struct libmnt_context *context = mnt_new_context();
	if (!context)
		return pl_fail(-ENOMEM, "no memory to mount %s", source);
	mnt_context_disable_helpers(context, 1);
	mnt_context_enable_rwonly_mount(context, 1); /* read-only only when asked for */
	mnt_context_set_source(context, source);
	mnt_context_set_target(context, mount_point);
	mnt_context_set_fstype(context, type);
	mnt_context_set_options(context, data);
	if (helper) { /* of userspace: libmount keeps it in its own table */
		snprintf(mark, sizeof(mark), "helper=%s", helper);
		mnt_context_append_options(context, mark);
	}
	if (readonly)
		mnt_context_set_mflags(context, MS_RDONLY);
	int r = mnt_context_mount(context);
	if (r == 0)
		return 0;
	char text[512] = "";
	mnt_context_get_excode(context, r, text, sizeof(text));
	int err = mnt_context_syscall_called(context) ? mnt_context_get_syscall_errno(context) : r < 0 ? -r : EINVAL;
	return pl_fail(err ? -err : -EIO, "mount %s at %s as %s with '%s': %s", source, mount_point, type, data,
		       text[0] ? text : strerror(err));
}

int guest_mount(const char *source, const char *mount_point, const char *type, char data[GUEST_DATA_BYTES],
		bool readonly, const char *helper)
{
	int r = mount_once(source, mount_point, type, data, readonly, helper);
	if (r != -EROFS || !readonly || !is_ext(type))
		return r;
	r = guest_add_option(data, "noload", strlen("noload"));
	return r == 0 ? mount_once(source, mount_point, type, data, readonly, helper) : r;
}

/* What libmount's table has of it: our mark, and when mount(8) had options to remember, an entry of that. */
static void forget_marks(const char *mount_point)
{
	for (int i = 0; i < 2; i++) {
		struct libmnt_update *update = mnt_new_update();
		if (update && mnt_update_set_fs(update, 0, mount_point, NULL) == 0)
			mnt_update_table(update, NULL);
		mnt_free_update(update);
	}
}

int guest_unmount_now(const char *mount_point, bool lazily)
{
	if (umount2(mount_point, UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)) != 0)
		return pl_fail(-errno, "unmount %s: %s", mount_point, strerror(errno));
	forget_marks(mount_point);
	return 0;
}

int guest_unmount(const struct pl_device *device, const char *mount_point, uint64_t timeout_ms)
{
	struct wait wait = WAIT_UNTIL(pl_now_ns() + timeout_ms * NS_PER_MS);
	int r;
	while ((r = guest_unmount_now(mount_point, false)) == -EBUSY) {
		r = interrupt_check();
		if (r < 0)
			return r;
		if (!wait_a_moment(&wait, pl_now_ns())) {
			char holders[512];
			pl_device_holders(device, mount_point, holders, sizeof(holders));
			return pl_fail(-EBUSY, "%s is busy, held by %s", mount_point, holders);
		}
	}
	return r;
}
