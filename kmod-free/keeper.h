/* What outlives a server: a tiny process beside it, `ploop-keeper`, that keeps descriptors and starts the next one.
 *
 *	server ---- life line, a socket pair ---- ploop-keeper
 *	  | fds to keep, "ready", "the end"          | copies of the fds, the words that start a server
 *	  x dies                                     | sees its end by a pidfd, starts the words: fds and line are inherited
 *	next server: takes the fds by name, locks the image (D10), takes the map changes over (D2), goes on
 *
 * It knows nothing of disks. A server hands it what must not be closed under two names or twenty, a transport's
 * connections to the kernel, its listening sockets, shared memory with requests that have no answer yet, and takes by
 * the same names what a dead predecessor left. Everything a successor needs is in those, in the image and its holder,
 * and in the bundle's descriptor; so the words that start it say where to look, not what was there. A connection to the
 * kernel that ended with a server is made anew before the next one is started: what the kernel sends again comes
 * sooner, and waits in the socket.
 *
 *	dies                     what happens                                            who sees it
 *	server, after a second   it is started again at once                             nobody: requests wait
 *	server, sooner           again, with growing pauses; after KEEPER_DEATHS_MAX     list, the system's log; requests
 *	                         in a row the keeper waits to be told                    wait, for ever if need be
 *	keeper                   the server starts another and hands over all it keeps   the log
 *	both                     descriptors close: what depended on them ends           as without a keeper: EIO
 *	server, before it said   the keeper goes, too                                    as without a keeper: EIO
 *	what starts another
 *	server that said that    the keeper goes with it, descriptors close              EIO
 *	its requests die with it
 *
 * Told at its command socket (keeper_ask()): the state · try again · abort: kill the server and let all go · upgrade:
 * the server is asked to leave, which it may refuse, and the program that lies there now is started. Before, the keeper
 * itself becomes the program that lies in the place of its own, if that is another.
 *
 * Both sockets are SOCK_SEQPACKET: a message is one struct. Only root and the keeper's own user are answered. */
#ifndef PLOOP_KEEPER_H
#define PLOOP_KEEPER_H

#include "base/units.h"

#include <stdbool.h>
#include <stdint.h>

#define KEEPER_NAME_BYTES  16
#define KEEPER_TEXT_BYTES  400
#define KEEPER_FDS_MAX     160u
#define KEEPER_DEATHS_MAX  8u
#define KEEPER_LIFE_NS     (1 * NS_PER_S) /* who was ready for so long did not die "again" */
#define KEEPER_PAUSE_NS    (20 * NS_PER_MS) /* before the third start in a row, then twice as long each time */
#define KEEPER_LINE_FD     3            /* of the program ploop-keeper that a server starts: the life line */
#define KEEPER_ENV         "PLOOP_KEPT" /* names and numbers of what is passed from program to program, "a=5,b=6" */

/* Kept like the rest, but the keeper itself uses them. */
#define KEEPER_FD_WORDS   "words"   /* memory: what to start, words that end with a 0 each */
#define KEEPER_FD_COMMAND "command" /* the listening command socket */
#define KEEPER_FD_REJOIN  "rejoin"  /* memory: what to say to the kernel when a server has died (keeper_rejoin.h) */
#define KEEPER_FD_KERNEL  "kernel"  /* a connection to the kernel, for the next server; made by that, or given */
#define KEEPER_REJOIN_FD  200       /* of the kernel's end, in that message; above every number a keeper has */
/* Passed along with what is kept. */
#define KEEPER_FD_LINE    "line"    /* the life line */

/* On the life line. */
enum keeper_word {
	/* from the server */
	KEEPER_KEEP = 'K',   /* name; one descriptor comes along. It replaces one of the same name */
	KEEPER_GIVE = 'V',   /* the same, for the next server alone: once that has it, it is not kept any more */
	KEEPER_READY = 'R',  /* it serves. mortal: its requests would die with it */
	KEEPER_STAY = 'S',   /* text: why it does not leave */
	KEEPER_WHY = 'W',    /* text: why it is going to fail */
	KEEPER_LEFT = 'G',   /* it was asked to leave, and has: no request is without its answer */
	KEEPER_END = 'E',    /* nothing is needed any more */
	/* to the server */
	KEEPER_LEAVE = 'L',  /* finish what is under way and end, so that another can go on */
};

struct keeper_message {
	uint8_t word;
	bool mortal;
	char name[KEEPER_NAME_BYTES];
	char text[KEEPER_TEXT_BYTES];
};

/* At the command socket. */
enum keeper_command {
	KEEPER_STATE = 's',   /* answered at once */
	KEEPER_RETRY = 'r',   /* answered at once: starts the server if the keeper waits */
	KEEPER_ABORT = 'a',   /* answered when the server is dead; the descriptors close when the socket does */
	KEEPER_UPGRADE = 'u', /* answered when the next server is ready, or not coming */
};

enum keeper_phase { KEEPER_RUNS, KEEPER_STARTS, KEEPER_LEAVES, KEEPER_WAITS };

struct keeper_state {
	int32_t err;          /* of the command: 0, or a negative errno with @text */
	uint32_t phase;
	uint32_t server_pid;  /* 0: none */
	uint32_t deaths;      /* in a row */
	bool mortal;
	uint64_t gap_ns;      /* UPGRADE: from the leaving on to the next one's readiness */
	char text[KEEPER_TEXT_BYTES]; /* what the last one died of */
};

/* ---- keeper_ask.c: from outside, by the path of the command socket */

/* -ENOENT: nobody keeps there · the command's own errno. @state may be NULL. Waits for the answer. */
int keeper_ask(const char *path, enum keeper_command command, struct keeper_state *state);

/* ---- keeper.c: the server's side. All on the thread of its loop. */

struct pl_loop;
struct keeper;

struct keeper_options {
	const char *program;       /* ploop-keeper */
	const char *command_path;  /* where its command socket shall be */
	char *const *words;        /* NULL-terminated: what starts a successor; words[0] is a path */
	bool mortal;
	/* Leave so that another can go on: keeper_left() and end the process, or keeper_stay(). */
	void (*leave)(void *arg);
	void *arg;
};

/* What a predecessor left, if the environment tells of one. Not NULL. */
struct keeper *keeper_new(void);
void keeper_free(struct keeper *k);
/* Was this process started by a keeper, or by itself (keeper_become())? */
bool keeper_is_successor(const struct keeper *k);
/* What is kept under @name, still the keeper's own; -1: nothing. */
int keeper_fd(const struct keeper *k, const char *name);
/* The same, the caller's from here on; it is not kept any more. */
int keeper_take(struct keeper *k, const char *name);
/* A copy of @fd for the next server under @name; who dies has it no more. -errno. */
int keeper_give(const struct keeper *k, const char *name, int fd);
/* Each whose name begins with @prefix; what @each returns but 0 ends it, and is returned. @fd is @each's, and is not
 * kept any more. */
int keeper_each(struct keeper *k, const char *prefix, int (*each)(void *arg, const char *name, int fd), void *arg);
/* Keep a copy of @fd under @name from here on; before keeper_start() it is only noted. -errno. */
int keeper_keep(struct keeper *k, const char *name, int fd);

/* We are ready: start a keeper if there is none, watch it. -errno: nobody keeps anything, and nothing is lost by it. */
int keeper_start(struct keeper *k, struct pl_loop *loop, const struct keeper_options *options);
/* Tell why we are going to fail; a keeper that started us repeats it. */
void keeper_why(struct keeper *k, const char *text);
/* For a process without a keeper: it goes on as the program of @words, which finds what is kept as a successor does.
 * Returns when that cannot be. -errno. */
int keeper_become(struct keeper *k, char *const *words);
/* The answers to options.leave(): no, and why; or yes, everything is settled and the process ends now. */
void keeper_stay(struct keeper *k, const char *why);
void keeper_left(struct keeper *k);
/* Watch no more; the loop may be freed. */
void keeper_stop(struct keeper *k);
/* Nothing is needed any more: the keeper lets all go and ends, which is waited for. */
void keeper_end(struct keeper *k);

#endif
