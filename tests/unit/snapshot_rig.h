/* A bundle of a small disk in d/, what it must read, and operations on it that die where the test wants.
 *
 * An operation runs in a child process, which ends at the N-th of its crash points as if it was killed. The disk runs
 * here, if it runs, and answers the child's calls: so it survives the child, as a server survives a command. */
#ifndef TEST_SNAPSHOT_RIG_H
#define TEST_SNAPSHOT_RIG_H

#include "bundle_scratch.h"
#include "ploop/engine.h"
#include "snapshot/points.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define CLUSTERS	12u
#define CLUSTER_SECTORS 64u
#define CLUSTER_BYTES	(CLUSTER_SECTORS * SECTOR_BYTES)

#define A "{a1111111-1111-4111-8111-111111111111}"
#define B "{b2222222-2222-4222-8222-222222222222}"
#define C "{c3333333-3333-4333-8333-333333333333}"

/* What a state of the disk reads: a letter for the bytes of each cluster, '.' for zeros. */
typedef char content[CLUSTERS + 1];

static inline void make_disk(uint32_t version, enum pl_image_mode mode)
{
	struct pl_create_options o = {
		.size = sizeof(o),
		.size_sectors = CLUSTERS * CLUSTER_SECTORS,
		.cluster_sectors = CLUSTER_SECTORS,
		.version = version,
		.mode = mode,
		.sparse = true,
	};
	enter();
	cr_assert(eq(int, pl_image_create("d/root.hds", &o), 0), "%s", pl_error());
	cr_assert(eq(int, pl_bundle_create("d", "root.hds", mode, CLUSTER_SECTORS, o.size_sectors), 0), "%s",
		  pl_error());
}

/* ---- the disk, open here */

struct running {
	struct pl_loop *loop;
	struct pl_disk *disk;
	struct pl_bundle *bundle;
};

static const char *holder_program; /* NULL: none */

static inline struct running run_disk(const char *guid)
{
	struct running r = {.bundle = opened("d", NULL)};
	struct pl_loop_options o = {.size = sizeof(o), .backend = PL_BACKEND_PLAIN};
	struct pl_open_options how = {
		.size = sizeof(how), .flags = guid ? PL_OPEN_READONLY : 0, .holder_program = holder_program};
	struct pl_chain_spec chain;
	cr_assert(eq(int, pl_bundle_chain(r.bundle, guid, &chain), 0), "%s", pl_error());
	cr_assert(eq(int, pl_loop_new(&o, &r.loop), 0), "%s", pl_error());
	cr_assert(eq(int, pl_disk_open(r.loop, &chain, &how, &r.disk), 0), "%s", pl_error());
	return r;
}

static inline void stop_disk(struct running *r)
{
	cr_expect(eq(int, pl_disk_close(r->disk), 0), "%s", pl_error());
	pl_loop_free(r->loop);
	pl_bundle_close(r->bundle);
}

static inline void write_clusters(struct running *r, const char *letters)
{
	static uint8_t buf[CLUSTER_BYTES];
	for (uint32_t g = 0; letters[g]; g++) {
		if (letters[g] == ' ')
			continue;
		memset(buf, letters[g], sizeof(buf));
		cr_assert(eq(int, pl_write(r->disk, buf, sizeof(buf), (uint64_t)g * CLUSTER_BYTES, 0), 0), "%s",
			  pl_error());
	}
}

static inline void read_clusters(struct running *r, content out)
{
	static uint8_t buf[CLUSTER_BYTES];
	for (uint32_t g = 0; g < CLUSTERS; g++) {
		cr_assert(eq(int, pl_read(r->disk, buf, sizeof(buf), (uint64_t)g * CLUSTER_BYTES), 0), "%s",
			  pl_error());
		out[g] = buf[0] ? (char)buf[0] : '.';
		for (size_t i = 0; i < sizeof(buf); i++)
			cr_assert(eq(u8, buf[i], buf[0]), "cluster %u byte %zu", g, i);
	}
	out[CLUSTERS] = '\0';
}

/* Write to the stopped disk. ' ': leave the cluster. */
static inline void write_disk(const char *letters)
{
	struct running r = run_disk(NULL);
	write_clusters(&r, letters);
	stop_disk(&r);
}

static inline void expect_reads(const char *guid, const char *want)
{
	content got;
	struct running r = run_disk(guid);
	read_clusters(&r, got);
	stop_disk(&r);
	cr_expect(eq(str, got, (char *)want), "%s", guid ? guid : "the top");
}

/* ---- calls across processes */

enum rpc_call { RPC_MEMBERS, RPC_PUSH, RPC_ABANDON, RPC_SWITCH, RPC_MERGE, RPC_REPLACE };
struct rpc_question {
	enum rpc_call call;
	char name[256];
	struct pl_switch_options how;
	uint32_t child;
	enum pl_merge_into into;
};
struct rpc_answer {
	int r;
	char error[512];
	size_t count;
	struct pl_member members[16];
	char paths[16][256];
	uint64_t pause_ns;
};
struct rpc_live {
	struct pl_live live;
	int fd;
};

static inline int rpc_ask(struct pl_live *live, const struct rpc_question *q, struct rpc_answer *a)
{
	int fd = ((struct rpc_live *)live)->fd;
	if (write(fd, q, sizeof(*q)) != sizeof(*q) || recv(fd, a, sizeof(*a), MSG_WAITALL) != sizeof(*a))
		return pl_fail(-ECONNRESET, "nobody answers");
	return a->r < 0 ? pl_fail(a->r, "%s", a->error) : 0;
}
static inline int rpc_members(struct pl_live *live, struct pl_member **out, size_t *count)
{
	struct rpc_question q = {.call = RPC_MEMBERS};
	static struct rpc_answer a; /* it has the paths, too */
	int r = rpc_ask(live, &q, &a);
	if (r)
		return r;
	*out = calloc(a.count, sizeof(**out));
	memcpy(*out, a.members, a.count * sizeof(**out));
	for (size_t i = 0; i < a.count; i++)
		(*out)[i].path = a.paths[i];
	*count = a.count;
	return 0;
}
static inline int rpc_push(struct pl_live *live, const char *name)
{
	struct rpc_question q = {.call = RPC_PUSH};
	struct rpc_answer a;
	snprintf(q.name, sizeof(q.name), "%s", name);
	return rpc_ask(live, &q, &a);
}
static inline int rpc_abandon(struct pl_live *live)
{
	struct rpc_question q = {.call = RPC_ABANDON};
	struct rpc_answer a;
	return rpc_ask(live, &q, &a);
}
static inline int rpc_switch(struct pl_live *live, const struct pl_switch_options *how, uint64_t *pause_ns)
{
	struct rpc_question q = {.call = RPC_SWITCH, .how = *how};
	struct rpc_answer a;
	int r = rpc_ask(live, &q, &a);
	*pause_ns = a.pause_ns;
	return r;
}
static inline int rpc_merge(struct pl_live *live, uint32_t child, enum pl_merge_into into,
			    const struct pl_progress *progress)
{
	struct rpc_question q = {.call = RPC_MERGE, .child = child, .into = into};
	struct rpc_answer a;
	return rpc_ask(live, &q, &a);
}
static inline int rpc_replace(struct pl_live *live, uint32_t place, const char *name)
{
	struct rpc_question q = {.call = RPC_REPLACE, .child = place};
	struct rpc_answer a;
	snprintf(q.name, sizeof(q.name), "%s", name);
	return rpc_ask(live, &q, &a);
}
static const struct pl_live_ops rpc_ops = {
	.members = rpc_members,
	.push = rpc_push,
	.abandon = rpc_abandon,
	.switch_top = rpc_switch,
	.merge = rpc_merge,
	.replace = rpc_replace,
};

static inline void rpc_done(struct pl_change *change)
{
	*(bool *)change->owner = true;
}

static int rpc_switch_fails;	       /* with this errno, if not 0 */
static void (*rpc_after_change)(void); /* what happens before the answer; NULL: nothing */

static inline struct pl_image_ref rpc_ref(const struct running *r, const struct rpc_question *q)
{
	return (struct pl_image_ref){.path = q->name, .name = q->name, .dir_fd = r->bundle->folder_fd};
}

static inline void rpc_change(struct running *r, const struct rpc_question *q, struct rpc_answer *a)
{
	bool done = false;
	struct pl_change change = {.done = rpc_done, .owner = &done};
	struct pl_image_ref ref = rpc_ref(r, q);
	if (q->call == RPC_SWITCH)
		pl_disk_switch(r->disk, &q->how, &change);
	else if (q->call == RPC_REPLACE)
		pl_disk_replace(r->disk, q->child, &ref, &change);
	else
		pl_disk_merge(r->disk, q->child, q->into, &change);
	while (!done)
		pl_loop_step(r->loop, true);
	if (rpc_after_change)
		rpc_after_change();
	a->r = change.res;
	a->pause_ns = change.pause_ns;
	snprintf(a->error, sizeof(a->error), "%s", change.error);
}

static inline void rpc_answer_one(struct running *r, const struct rpc_question *q, struct rpc_answer *a)
{
	struct pl_image_ref ref = rpc_ref(r, q);
	switch (q->call) {
	case RPC_MEMBERS:
		a->count = pl_disk_members(r->disk, a->members, ARRAY_LEN(a->members));
		for (size_t i = 0; i < a->count; i++)
			snprintf(a->paths[i], sizeof(a->paths[i]), "%s", a->members[i].path);
		break;
	case RPC_PUSH:
		a->r = pl_disk_push(r->disk, &ref);
		snprintf(a->error, sizeof(a->error), "%s", pl_error());
		break;
	case RPC_ABANDON:
		pl_disk_abandon(r->disk);
		break;
	default:
		if (q->call == RPC_SWITCH && rpc_switch_fails)
			a->r = rpc_switch_fails;
		else
			rpc_change(r, q, a);
	}
}

/* Until the other side is gone; what it pushed goes with it. */
static inline void rpc_serve(struct running *r, int fd)
{
	struct rpc_question q;
	while (recv(fd, &q, sizeof(q), MSG_WAITALL) == sizeof(q)) {
		struct rpc_answer a = {0};
		rpc_answer_one(r, &q, &a);
		cr_assert(eq(sz, (size_t)write(fd, &a, sizeof(a)), sizeof(a)));
	}
	pl_disk_abandon(r->disk);
}

/* ---- operations */

typedef int operation(struct pl_bundle *b, struct pl_live *live, void *arg);

static int points_left; /* in the child: before it ends */
static int result_fd;

struct outcome {
	int r;		/* -EINTR: it died */
	char text[512]; /* the sentence, or the name of the point */
};

static inline void die_at_point(const char *name)
{
	struct outcome o = {.r = -EINTR};
	if (points_left-- > 0)
		return;
	snprintf(o.text, sizeof(o.text), "%s", name);
	if (write(result_fd, &o, sizeof(o)) < 0)
		abort();
	_exit(0);
}

static inline void be_the_child(operation *op, void *arg, int rpc_fd, int stop_after)
{
	struct rpc_live live = {.live.ops = &rpc_ops, .fd = rpc_fd};
	struct pl_bundle *b = NULL;
	points_left = stop_after;
	snap_point_hook = stop_after >= 0 ? die_at_point : NULL;
	int r = pl_bundle_open("d", NULL, &b);
	struct outcome o = {.r = r ? r : op(b, rpc_fd >= 0 ? &live.live : NULL, arg)};
	snprintf(o.text, sizeof(o.text), "%s", pl_error());
	pl_bundle_close(b);
	_exit(write(result_fd, &o, sizeof(o)) != sizeof(o));
}

/* @disk: NULL when it is stopped. @stop_after: so many points are passed; -1: all. */
static inline struct outcome operate(struct running *disk, operation *op, void *arg, int stop_after)
{
	struct outcome o;
	int result[2], rpc[2];
	cr_assert(eq(int, pipe(result), 0));
	cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, rpc), 0));
	pid_t pid = fork();
	cr_assert(ge(int, pid, 0));
	if (pid == 0) {
		close(rpc[0]);
		result_fd = result[1];
		be_the_child(op, arg, disk ? rpc[1] : -1, stop_after);
	}
	close(rpc[1]);
	close(result[1]);
	if (disk)
		rpc_serve(disk, rpc[0]);
	bool told = read(result[0], &o, sizeof(o)) == sizeof(o);
	cr_assert(told, "the operation ended without a word");
	close(result[0]);
	close(rpc[0]);
	waitpid(pid, NULL, 0);
	return o;
}

static inline void expect_done(struct running *disk, operation *op, void *arg)
{
	struct outcome o = operate(disk, op, arg, -1);
	cr_assert(eq(int, o.r, 0), "%s", o.text);
}

static inline void expect_refused(struct running *disk, operation *op, void *arg, int err, const char *sentence)
{
	struct outcome o = operate(disk, op, arg, -1);
	cr_expect(eq(int, o.r, err), "%s", o.text);
	cr_expect(strstr(o.text, sentence) != NULL, "%s", o.text);
}

static inline int recover(struct pl_bundle *b, struct pl_live *live, void *arg)
{
	char *what = NULL;
	int r = pl_bundle_recover(b, live, &what);
	free(what);
	return r;
}

static inline int create(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	struct pl_snapshot_options o = {.size = sizeof(o), .guid = guid};
	struct pl_snapshot_result result;
	return pl_snapshot_create(b, live, &o, &result);
}

static inline int delete (struct pl_bundle *b, struct pl_live *live, void *guid)
{
	enum pl_snapshot_end end;
	return pl_snapshot_delete(b, live, guid, NULL, &end);
}

/* ---- what must hold between operations */

static inline size_t count_files(void)
{
	size_t n = 0;
	DIR *dir = opendir("d");
	for (struct dirent *e; (e = readdir(dir));)
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* The folder has the descriptor and its images, nothing else, and the images are sound. @live: the top is in use. */
static inline void expect_tidy(bool live)
{
	struct pl_bundle *b = opened("d", NULL);
	cr_expect(eq(sz, count_files(), b->desc.count + 1));
	for (size_t i = 0; i < b->desc.count; i++) {
		struct pl_check_options o = {
			.size = sizeof(o),
			.flags = PL_CHECK_FORCE | PL_CHECK_READONLY | (live ? PL_CHECK_LIVE : 0),
			.cluster_sectors = CLUSTER_SECTORS,
		};
		int code = 0;
		cr_expect(eq(int, pl_image_check(&b->images[i], &o, &code), 0), "%s: %s", b->images[i].path,
			  pl_error());
	}
	pl_bundle_close(b);
}

/* The ids and files of the descriptor, in its order: "A=root.hds top=*"; a new file's name is "*". */
static inline void expect_nodes(const char *want)
{
	char got[1024] = "";
	size_t n = 0;
	struct pl_bundle *b = opened("d", NULL);
	for (size_t i = 0; i < b->desc.count; i++) {
		const struct lay_desc_node *node = &b->desc.nodes[i];
		bool top = lay_guid_eq(&node->guid, &lay_guid_top), is_new = strlen(node->file) > 40;
		char id = (char)(node->guid.text[1] - 'a' + 'A');
		n += (size_t)snprintf(got + n, sizeof(got) - n, "%s%.*s%s=%s", n ? " " : "", top ? 3 : 1,
				      top ? "top" : &id, node->state ? "!" : "", is_new ? "*" : node->file);
	}
	pl_bundle_close(b);
	cr_expect(eq(str, got, (char *)want));
}

#endif
