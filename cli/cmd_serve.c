/* ploop serve: find the images, then become the server. The descriptor's parser stays behind: the server gets words. */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/resolve.h"
#include "cli/server.h"
#include "ploop-serve.h"

#include <limits.h>
#include <stdlib.h>

struct serve_args {
	const char *socket, *tcp, *tls_x509, *tls_psk, *export_name, *description, *pid_file, *debug, *on_full;
	const char *partial;
	bool read_only, tls_verify_peer, insecure_tcp, daemonize, no_wait;
	struct cli_uuid uuid;
	struct cli_list outside, allow_uids;
	struct cli_format format;
	uint64_t cluster_sectors;
};

static const struct cli_option options[] = {
	CLI_TEXT(0, "socket", "PATH", struct serve_args, socket, "serve NBD at this unix socket"),
	CLI_TEXT(0, "tcp", "HOST:PORT", struct serve_args, tcp, "serve NBD there, with TLS"),
	CLI_TEXT(0, "tls-x509", "DIR", struct serve_args, tls_x509,
		 "folder with ca-cert.pem, server-cert.pem and server-key.pem"),
	CLI_TEXT(0, "tls-psk", "FILE", struct serve_args, tls_psk, "pre-shared keys, lines of user:hexkey"),
	CLI_FLAG(0, "tls-verify-peer", struct serve_args, tls_verify_peer,
		 "clients must show a certificate of the same CA"),
	CLI_FLAG(0, "insecure-tcp", struct serve_args, insecure_tcp, "let TCP clients in without TLS"),
	CLI_LIST(0, "allow-uid", "UID", struct serve_args, allow_uids,
		 "let this user in at the unix socket besides root and the caller; may be repeated"),
	CLI_FLAG('r', "read-only", struct serve_args, read_only, "refuse writes; several servers may read one disk"),
	CLI_UUID('u', "uuid", struct serve_args, uuid, "serve this snapshot, read-only, instead of the top"),
	CLI_TEXT('x', "export", "NAME", struct serve_args, export_name, "name of the export, by default empty"),
	CLI_TEXT(0, "description", "TEXT", struct serve_args, description, "what clients may show for the export"),
	CLI_FORMAT('f', "format", struct serve_args, format, "format of the first image of a list"),
	CLI_NUMBER('b', "cluster", "SECTORS", struct serve_args, cluster_sectors, "cluster size of a raw first image"),
	CLI_TEXT(0, "pid-file", "FILE", struct serve_args, pid_file,
		 "write the server's process id there when it is ready"),
	CLI_FLAG(0, "daemonize", struct serve_args, daemonize, "return when ready and serve in the background"),
	CLI_PARTIAL(struct serve_args, partial),
	CLI_FLAG(0, "no-wait", struct serve_args, no_wait,
		 "leave unfinished clusters so at the end: see ploop finish"),
	CLI_OUTSIDE(struct serve_args, outside),
	CLI_TEXT(0, "on-full", "wait|fail", struct serve_args, on_full,
		 "what writes do that find no space on the host; else what ploop set said, or wait"),
	CLI_TEXT(0, "debug", "LIST", struct serve_args, debug, "debug lines of these categories: nbd,map"),
	CLI_END,
};

static int check_args(const struct serve_args *a)
{
	enum pl_on_full on_full;
	if (!a->socket && !a->tcp && !getenv("LISTEN_FDS"))
		return cli_misuse("where to serve? --socket PATH or --tcp HOST:PORT");
	if (a->on_full && cli_parse_on_full(a->on_full, &on_full) < 0)
		return CLI_MISUSE;
	if (a->tls_x509 && a->tls_psk)
		return cli_misuse("--tls-x509 and --tls-psk exclude each other");
	if (a->tls_verify_peer && !a->tls_x509)
		return cli_misuse("--tls-verify-peer needs --tls-x509");
	if (a->tcp && !a->tls_x509 && !a->tls_psk && !a->insecure_tcp)
		return cli_misuse("--tcp needs --tls-x509 or --tls-psk; "
				  "--insecure-tcp lets everyone on the network in");
	return 0;
}

static int read_uids(const struct cli_list *list, uint32_t uids[CLI_LIST_MAX])
{
	for (size_t i = 0; i < list->count; i++) {
		uint64_t uid;
		if (cli_parse_number(list->items[i], &uid) < 0 || uid >= UINT32_MAX)
			return cli_misuse("--allow-uid %s is not a user id", list->items[i]);
		uids[i] = (uint32_t)uid;
	}
	return 0;
}

/* Who has nothing to operate on can still be asked. */
static const char *control_of(const struct disk *disk, bool readonly, bool *no_changes, char *out, size_t out_bytes)
{
	*no_changes = readonly || disk->kind != DISK_BUNDLE;
	if (!*no_changes)
		return disk_control(disk, readonly, out, out_bytes);
	const char *in_folder = disk->kind == DISK_BUNDLE ? pl_bundle_path(disk->bundle)
							  : disk->chain.images[disk->chain.count - 1].path;
	return pl_control_path_reader(in_folder, out, out_bytes) == 0 ? out : NULL;
}

static int become_server(const struct serve_args *a, const struct disk *disk)
{
	uint32_t uids[CLI_LIST_MAX];
	char control[PATH_MAX];
	struct resume_words resume;
	bool readonly = a->read_only || disk_is_below_top(disk), no_changes;
	struct disk_options again = {.outside = &a->outside, .uuid = &a->uuid, .for_writing = !readonly};
	bool partial = true;
	int r = read_uids(&a->allow_uids, uids);
	if (r == 0)
		r = cli_parse_partial(a->partial, &partial);
	if (r != 0)
		return r;
	resume_words_of(disk, &again, &resume);
	const char *control_path = control_of(disk, readonly, &no_changes, control, sizeof(control));
	return pl_serve_exec(&(struct pl_serve_options){
		.size = sizeof(struct pl_serve_options),
		.chain = disk->chain,
		.readonly = readonly,
		.no_partial = !partial,
		.leave = a->no_wait,
		.control = control_path,
		.no_changes = no_changes,
		.export_name = a->export_name,
		.description = a->description,
		.socket = a->socket,
		.tcp = a->tcp,
		.pid_file = a->pid_file,
		.daemonize = a->daemonize,
		.tls_certificates = a->tls_x509,
		.tls_psk_file = a->tls_psk,
		.tls_verify_peer = a->tls_verify_peer,
		.insecure_tcp = a->insecure_tcp,
		.allow_uids = uids,
		.allow_uid_count = a->allow_uids.count,
		.settings = disk_settings(disk),
		.on_full = a->on_full,
		.bundle_lock_fd = (uint32_t)disk->lock_fd,
		.resume = resume.words,
		.resume_count = resume.count,
		.log_categories = a->debug,
	});
}

static int run(void *p, int argc, char **argv)
{
	const struct serve_args *a = p;
	int r = check_args(a);
	if (r != 0)
		return r;
	struct disk disk;
	struct disk_options how = {
		.outside = &a->outside,
		.uuid = &a->uuid,
		.cluster_sectors = a->cluster_sectors,
		.base_format = a->format,
		.for_writing = !a->read_only,
	};
	r = disk_resolve(argc, argv, &how, &disk);
	if (r != 0)
		return r;
	r = become_server(a, &disk);
	disk_close(&disk);
	return r;
}

const struct cli_command cmd_serve = {
	.name = "serve",
	.summary = "Serve a disk over NBD, without root",
	.synopsis = {
		"[options] --socket PATH DD",
		"[options] --socket PATH BASE [… TOP]",
		"[options] --tcp HOST:PORT --tls-x509 DIR|--tls-psk FILE DD",
	},
	.options = options,
	.examples = {
		{"ploop serve --socket /tmp/disk.sock /vz/test", "Serve a disk at a unix socket until interrupted"},
		{"qemu-img info nbd+unix:///?socket=/tmp/disk.sock", "Look at it with QEMU"},
		{"ploop serve -r --tcp :10809 --tls-x509 /etc/pki/ploop /vz/test", "Serve it for reading, with TLS"},
		{"nbdcopy -- [ ploop serve -r /vz/test ] disk.raw", "Copy a disk out, by socket activation"},
	},
	.args_bytes = sizeof(struct serve_args),
	.min_words = 1,
	.max_words = -1,
	.parsed_output = true,
	.run = run,
};
