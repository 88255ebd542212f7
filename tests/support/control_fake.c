#include "control_fake.h"

#include "base/invariant.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static size_t members(void *arg, struct pl_member *out, size_t max)
{
	const struct control_fake *f = arg;
	if (max)
		memcpy(out, f->members, MIN(max, CONTROL_FAKE_MEMBERS) * sizeof(*out));
	return CONTROL_FAKE_MEMBERS;
}

static int push(void *arg, const char *name)
{
	struct control_fake *f = arg;
	invariant(!f->pushed[0] && !f->change);
	f->pushes++;
	if (f->on_push)
		f->on_push(f);
	if (f->push_fails)
		return pl_fail(f->push_fails, "the pushed image is bad");
	snprintf(f->pushed, sizeof(f->pushed), "%s", name);
	return 0;
}

static void abandon(void *arg)
{
	struct control_fake *f = arg;
	invariant(f->pushed[0] && !f->change);
	f->abandons++;
	f->pushed[0] = '\0';
}

static void on_tick(struct pl_timer *tick)
{
	struct control_fake *f = container_of(tick, struct control_fake, tick);
	f->change->total_bytes = 1000;
	f->change->done_bytes += 100;
	if (f->cancelled || f->change->done_bytes == f->change->total_bytes) {
		control_fake_finish(f, f->cancelled ? -ECANCELED : 0);
		return;
	}
	f->change->progress(f->change);
	pl_timer_start(f->loop, &f->tick, 10 * NS_PER_MS);
}

static void begin(struct control_fake *f, struct pl_change *change, bool switching)
{
	invariant(!f->change);
	f->change = change;
	f->switching = switching;
	f->cancelled = false;
	f->tick.fire = on_tick;
	if (f->loop)
		pl_timer_start(f->loop, &f->tick, 10 * NS_PER_MS);
}

static void switch_top(void *arg, const struct pl_switch_options *options, struct pl_change *change)
{
	struct control_fake *f = arg;
	invariant(f->pushed[0]);
	f->switches++;
	f->options = *options;
	snprintf(f->uuid, sizeof(f->uuid), "%s", options->cbt_uuid ? options->cbt_uuid : "");
	begin(f, change, true);
}

static void merge(void *arg, uint32_t child, enum pl_merge_into into, struct pl_change *change)
{
	struct control_fake *f = arg;
	invariant(child >= 1 && child < CONTROL_FAKE_MEMBERS && !f->pushed[0]);
	f->merges++;
	f->child = child;
	f->into = into;
	begin(f, change, false);
}

static void replace(void *arg, uint32_t place, const char *name, struct pl_change *change)
{
	struct control_fake *f = arg;
	f->replaces++;
	f->child = place;
	snprintf(f->replaced_by, sizeof(f->replaced_by), "%s", name);
	begin(f, change, false);
}

static void finish(void *arg, struct pl_change *change)
{
	struct control_fake *f = arg;
	f->finishes++;
	begin(f, change, false);
}

static void cancel(void *arg)
{
	struct control_fake *f = arg;
	invariant(f->change);
	f->cancels++;
	f->cancelled = true;
}

static void info(void *arg, struct control_info *out)
{
	*out = (struct control_info){.size_bytes = UINT64_C(1) << 40, .cluster_bytes = 1 << 20, .image_version = 2,
				     .depth = CONTROL_FAKE_MEMBERS, .pid = 42, .survives = true, .program = "fake"};
}

static void get_stat(void *arg, struct pl_disk_stat *out)
{
	*out = ((struct control_fake *)arg)->stat;
}

static int set(void *arg, const struct pl_limits *limits)
{
	struct control_fake *f = arg;
	if (limits->burst_ms > 60000)
		return pl_fail(-EINVAL, "burst: too long");
	f->stat.limits = *limits;
	return 0;
}

static void set_on_full(void *arg, enum pl_on_full what)
{
	((struct control_fake *)arg)->stat.on_full = what;
}

static void retry(void *arg)
{
	((struct control_fake *)arg)->retries++;
}

static void hand_over(void *arg, struct pl_change *change)
{
	struct control_fake *f = arg;
	f->handovers++;
	begin(f, change, false);
}

void control_fake_finish(struct control_fake *f, int res)
{
	struct pl_change *change = f->change;
	f->change = NULL;
	if (f->switching && res == 0)
		f->pushed[0] = '\0';
	change->res = res;
	change->pause_ns = 1234567;
	if (res < 0)
		snprintf(change->error, sizeof(change->error), "the change ended: \"%s\"", strerror(-res));
	change->done(change);
}

void control_fake_init(struct control_fake *f, struct pl_loop *loop)
{
	*f = (struct control_fake){.loop = loop};
	f->backend = CONTROL_BACKEND(f);
	f->members[0] = (struct pl_member){"/vz/ct 1/root.hds", UINT64_C(0xfffffffffffffff0), 12, 1000, true, false};
	f->members[1] = (struct pl_member){"/vz/ct 1/\"odd\"\n\xff.hds", 2, UINT64_MAX, 0, false, true};
	f->members[2] = (struct pl_member){"/vz/ct 1/top.hds", 2, 14, 7, false, false};
}
