/* Every limit of the NBD server. What a client can make us hold is bounded by the products of these. */
#ifndef PLOOP_NBDS_LIMITS_H
#define PLOOP_NBDS_LIMITS_H

#include "base/units.h"

/* ---- clients */
#define NBDS_MAX_CONNECTIONS   64u
#define NBDS_NEGOTIATION_NS    (10 * NS_PER_S) /* from accept to transmission, TLS included */
#define NBDS_LISTEN_BACKLOG    128
#define NBDS_ACCEPT_RETRY_NS   (100 * NS_PER_MS) /* when accept() is out of descriptors */

#define NBDS_WATCH_NS          NS_PER_S        /* while somebody waits for a buffer, look this often … */
#define NBDS_SILENT_LOOKS      8u              /* … and drop who holds one and moved no byte so many times */

/* ---- negotiation */
#define NBDS_MAX_NAME_BYTES    4096u  /* export names and context queries */
#define NBDS_MAX_OPTION_BYTES  16384u /* data of one option; longer: the connection is dropped */

/* ---- requests */
#define NBDS_MIN_BLOCK_BYTES       512u
#define NBDS_PREFERRED_BLOCK_BYTES 4096u
#define NBDS_MAX_PAYLOAD_BYTES     (32u << 20) /* of a READ or WRITE */
#define NBDS_MAX_IN_FLIGHT         256u        /* per connection; beyond it we stop reading */
#define NBDS_SLOTS_PER_CHUNK       16u         /* requests allocated at a time, kept until the connection ends */
#define NBDS_MAX_EXTENTS           2040u        /* per context in one BLOCK_STATUS reply: two contexts fit 32 KiB */
#define NBDS_HOLE_READ_BYTES       (64u << 10) /* reads this long are looked up first: a hole needs no payload */

/* ---- buffers */
#define NBDS_INPUT_BYTES     (256u << 10) /* a whole queue of 4 KiB writes fits */
#define NBDS_BULK_BYTES      (32u << 10)  /* longer write payloads are not swallowed by the input buffer */
#define NBDS_MAX_IOV         64u          /* pieces in one sendmsg */
#define NBDS_COALESCE_COUNT  4u           /* replies that wait for each other, after the first of a turn */
#define NBDS_PACE_COUNT      8u           /* as many reads done at once, and nothing at the disk: it idles */
#define NBDS_PACE_SHARE      4u           /* then a quarter of the replies goes first … */
#define NBDS_PACE_NS         (100 * NS_PER_MS / 1000) /* … and the rest when requests come, or after this */
#define NBDS_PACE_MISSES     8u           /* no request came in time so often in a row: this client waits for all */
#define NBDS_COALESCE_BYTES  (128u << 10) /* replies with payload go when they are so much */
#define NBDS_RECEIVE_ROUNDS  16u          /* receives for one connection before others get their turn */
#define NBDS_TLS_INPUT_BYTES (64u << 10)
#define NBDS_TLS_OUTPUT_BYTES (256u << 10) /* encrypted and not yet sent; beyond it replies wait in the clear */

#endif
