/* The life of a FUSE export: slots, the turn from readable to served, the end.
 *
 * One poll is armed while slots are free; when it fires, requests are read until there are none. When all slots are
 * taken, or a request must be served alone, nothing is polled and the kernel queues; the next request that ends goes on
 * reading. */
#include "kmod-free/fuse_export.h"

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/invariant.h"
#include "base/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define IDLE_NS (5 * NS_PER_S)

static void slot_put(struct fuse_slot *s)
{
	struct fuse_export *e = s->export;
	/* The last used is the next used: its memory is warm. */
	s->node.next = e->free_slots.first;
	if (!e->free_slots.first)
		e->free_slots.last = &s->node.next;
	e->free_slots.first = &s->node;
}

static struct fuse_slot *slot_get(struct fuse_export *e)
{
	struct qnode *n = queue_take(&e->free_slots);
	return n ? container_of(n, struct fuse_slot, node) : NULL;
}

static void arm_poll(struct fuse_export *e)
{
	if (e->polling || e->gone || e->stopping)
		return;
	e->polling = true;
	pl_loop_submit(e->loop, &e->poll);
}

static void end_when_gone(struct fuse_export *e)
{
	if (!e->gone || e->stopping || e->polling || e->in_flight)
		return;
	e->stopping = true; /* say it once */
	if (e->unmounted)
		e->unmounted(e->arg);
}

/* See the head of fuse_export.h. Without the rights to populate, the kernel may still find the pages itself. */
static void touch(struct fuse_slot *s)
{
	const struct fuse_export *e = s->export;
	if (likely(s->touched_bytes >= e->touched_bytes))
		return;
	madvise(s->payload - FUSE_PAGE_BYTES, FUSE_PAGE_BYTES + e->touched_bytes, MADV_POPULATE_WRITE);
	s->touched_bytes = e->touched_bytes;
}

/* One request from the kernel into @s. 0: none now or never again. */
static size_t read_request(struct fuse_export *e, struct fuse_slot *s)
{
	touch(s);
	for (;;) {
		ssize_t n = read(e->fd, s->payload - FUSE_REQUEST_HEAD, FUSE_REQUEST_HEAD + FUSE_PAYLOAD_BYTES);
		if (unlikely(n > (ssize_t)(FUSE_REQUEST_HEAD + e->touched_bytes)))
			e->touched_bytes = FUSE_PAYLOAD_BYTES;
		if (n > 0)
			return (size_t)n;
		if (n < 0 && (errno == EINTR || errno == ENOENT)) /* ENOENT: it was interrupted meanwhile */
			continue;
		if (n == 0 || errno != EAGAIN) {
			if (n < 0 && errno != ENODEV)
				pl_log(PL_LOG_ERROR, "fuse", "/dev/fuse failed errno=%d", errno);
			e->gone = true;
		}
		return 0;
	}
}

static void serve_requests(struct fuse_export *e)
{
	e->serving = true;
	while (!e->gone && !e->stopping && !e->alone) {
		struct fuse_slot *s = slot_get(e);
		if (!s)
			break;
		size_t bytes = read_request(e, s);
		if (bytes == 0) {
			slot_put(s);
			break;
		}
		e->in_flight++;
		if (!fuse_request_start(s, bytes)) {
			e->in_flight--;
			slot_put(s);
		}
		if (++e->served % FUSE_KICK_REQUESTS == 0)
			pl_loop_kick(e->loop);
	}
	e->serving = false;
	if (e->alone && e->in_flight == 1)
		fuse_unaligned_start(e->alone);
	else if (!e->alone && !queue_is_empty(&e->free_slots))
		arm_poll(e);
}

void fuse_slot_done(struct fuse_slot *s)
{
	struct fuse_export *e = s->export;
	e->in_flight--;
	slot_put(s);
	if (e->alone == s)
		e->alone = NULL;
	else if (e->alone && e->in_flight == 1)
		fuse_unaligned_start(e->alone);
	/* Not from inside itself: the disk may answer before pl_submit() returns. */
	if (!e->alone && !e->polling && !e->serving)
		serve_requests(e);
	end_when_gone(e);
}

static void readable(struct pl_io *io)
{
	struct fuse_export *e = container_of(io, struct fuse_export, poll);
	e->polling = false;
	serve_requests(e);
	end_when_gone(e);
}

/* Give the payload memory back to the system when nothing happened for a while. */
static void idle_look(struct pl_timer *timer)
{
	struct fuse_export *e = container_of(timer, struct fuse_export, idle);
	if (e->in_flight == 0 && e->served == e->served_at_last_look) {
		space_clear(e->memory, (size_t)FUSE_SLOTS * FUSE_SLOT_BYTES);
		for (uint32_t i = 0; i < FUSE_SLOTS; i++)
			e->slots[i].touched_bytes = 0;
		e->touched_bytes = FUSE_TOUCH_BYTES;
	}
	e->served_at_last_look = e->served;
	pl_timer_start(e->loop, timer, IDLE_NS);
}

static int slots_init(struct fuse_export *e)
{
	size_t bytes = (size_t)FUSE_SLOTS * FUSE_SLOT_BYTES;
	void *memory = space_reserve(bytes);
	if (!memory)
		return pl_fail(-ENOMEM, "no memory for %u FUSE requests", FUSE_SLOTS);
	e->memory = memory;
	e->touched_bytes = FUSE_TOUCH_BYTES;
	/* Small requests touch two pages of a slot; huge pages would make that two megabytes. */
	madvise(memory, bytes, MADV_NOHUGEPAGE);
	mlock2(memory, bytes, MLOCK_ONFAULT); /* for who may lock only some: the guest writes to free memory */
	for (uint32_t i = FUSE_SLOTS; i-- > 0;) {
		struct fuse_slot *s = &e->slots[i];
		s->export = e;
		s->payload = e->memory + (size_t)i * FUSE_SLOT_BYTES + FUSE_PAGE_BYTES;
		slot_put(s);
	}
	return 0;
}

static int files_init(struct fuse_export *e, const struct fuse_export_options *o)
{
	struct pl_disk_info info;
	pl_disk_get_info(e->disk, &info);
	e->readonly = info.readonly;
	e->files[FUSE_INO_DISK] = (struct fuse_file){FUSE_EXPORT_DISK, 0, info.size_bytes};
	if (o->part_length_bytes == 0)
		return 0;
	if (!range_fits(o->part_offset_bytes, o->part_length_bytes, info.size_bytes) ||
	    !is_aligned(o->part_offset_bytes | o->part_length_bytes, SECTOR_BYTES))
		return pl_fail(-EINVAL,
			       "the partition at %llu of %llu bytes does not lie on sectors of a disk of %llu",
			       (unsigned long long)o->part_offset_bytes, (unsigned long long)o->part_length_bytes,
			       (unsigned long long)info.size_bytes);
	e->files[FUSE_INO_PART] = (struct fuse_file){FUSE_EXPORT_PART, o->part_offset_bytes, o->part_length_bytes};
	return 0;
}

/* A copy of a predecessor's, or new and empty. */
static int greeting_init(struct fuse_export *e, const struct fuse_export_options *o)
{
	e->taken_over = o->takes_over;
	e->greeting_fd = o->takes_over ? fcntl(o->greeting_fd, F_DUPFD_CLOEXEC, 0)
				       : memfd_create("ploop-fuse", MFD_CLOEXEC);
	return e->greeting_fd < 0 ? pl_fail(-errno, "memory for the FUSE greeting: %s", strerror(errno)) : 0;
}

/* What it had not answered comes again; without that, who asked waits for ever. */
static int take_over(struct fuse_export *e, const struct fuse_export_options *o)
{
	int r = fuse_files_take_over(e, o);
	if (r == 0)
		r = fuse_request_replay_greeting(e);
	if (r == 0 && e->can_resend)
		r = fuse_request_again(e);
	if (r < 0)
		fuse_files_leave(e);
	return r;
}

static void export_free(struct fuse_export *e)
{
	if (e->greeting_fd >= 0)
		close(e->greeting_fd);
	if (e->memory)
		munmap(e->memory, (size_t)FUSE_SLOTS * FUSE_SLOT_BYTES);
	free(e->mount_point);
	free(e);
}

DEFINE_AUTO(struct fuse_export *, export, export_free, NULL)

int fuse_export_start(struct pl_loop *loop, struct pl_disk *disk, const struct fuse_export_options *options,
		      struct fuse_export **out)
{
	__attribute__((cleanup(export_autop))) struct fuse_export *e = calloc(1, sizeof(*e));
	if (!e)
		return pl_fail(-ENOMEM, "no memory for a FUSE export");
	e->greeting_fd = -1;
	e->loop = loop;
	e->disk = disk;
	e->unmounted = options->unmounted;
	e->arg = options->arg;
	e->mount_point = strdup(options->mount_point);
	if (!e->mount_point)
		return pl_fail(-ENOMEM, "no memory for a FUSE export");
	int r = files_init(e, options);
	if (r == 0)
		r = slots_init(e);
	if (r == 0)
		r = greeting_init(e, options);
	if (r == 0)
		r = options->takes_over ? take_over(e, options) : fuse_files_mount(e, options);
	if (r < 0)
		return r;
	e->poll = (struct pl_io){.done = readable, .kind = PL_IO_POLL, .fd = e->fd, .arg = POLLIN};
	e->idle.fire = idle_look;
	pl_timer_start(loop, &e->idle, IDLE_NS);
	arm_poll(e);
	while (!e->greeted && !e->gone)
		if (pl_loop_step(loop, true) < 0)
			break;
	*out = export_steal(&e);
	return 0;
}

int fuse_export_device(const struct fuse_export *e)
{
	return e->fd;
}

int fuse_export_greeting(const struct fuse_export *e)
{
	return e->greeting_fd;
}

bool fuse_export_can_resend(const struct fuse_export *e)
{
	return e->can_resend;
}

int fuse_export_unmount(struct fuse_export *e)
{
	return e->gone ? 0 : fuse_files_unmount(e);
}

static void time_is_up(struct pl_timer *timer) {}

int fuse_export_drain(struct fuse_export *e, uint64_t deadline_ns)
{
	struct pl_timer wake = {.fire = time_is_up};
	e->stopping = true;
	if (e->polling)
		pl_loop_cancel(e->loop, &e->poll);
	pl_timer_start(e->loop, &wake, deadline_ns - MIN(deadline_ns, pl_now_ns()));
	while ((e->polling || e->in_flight) && wake.deadline_ns != 0)
		if (pl_loop_step(e->loop, true) < 0)
			break;
	pl_timer_stop(e->loop, &wake);
	if (!e->polling && e->in_flight == 0)
		return 0;
	e->stopping = false;
	if (!e->alone && !queue_is_empty(&e->free_slots))
		arm_poll(e);
	return pl_fail(-ETIMEDOUT, "%u requests are not done yet", e->in_flight);
}

void fuse_export_leave(struct fuse_export *e)
{
	pl_timer_stop(e->loop, &e->idle);
	fuse_files_leave(e);
	export_free(e);
}

void fuse_export_stop(struct fuse_export *e)
{
	e->stopping = true;
	if (e->polling)
		pl_loop_cancel(e->loop, &e->poll);
	while (e->polling || e->in_flight)
		if (pl_loop_step(e->loop, true) < 0)
			break;
	pl_timer_stop(e->loop, &e->idle);
	fuse_files_close(e);
	export_free(e);
}
