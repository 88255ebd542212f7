/* The numbers of the NBD protocol (fixed newstyle, structured replies, block status). All fields are big-endian. */
#ifndef PLOOP_NBDS_PROTO_H
#define PLOOP_NBDS_PROTO_H

#include <stdint.h>

/* ---- greeting */
#define NBDS_MAGIC               UINT64_C(0x4e42444d41474943) /* "NBDMAGIC" */
#define NBDS_OPTION_MAGIC        UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define NBDS_FLAG_FIXED_NEWSTYLE 0x1u
#define NBDS_FLAG_NO_ZEROES      0x2u
#define NBDS_GREETING_BYTES      18u
#define NBDS_EXPORT_NAME_ZEROES  124u

/* ---- options: u64 magic, u32 option, u32 length; answered by u64 magic, u32 option, u32 reply, u32 length */
#define NBDS_OPT_EXPORT_NAME       1u
#define NBDS_OPT_ABORT             2u
#define NBDS_OPT_LIST              3u
#define NBDS_OPT_STARTTLS          5u
#define NBDS_OPT_INFO              6u
#define NBDS_OPT_GO                7u
#define NBDS_OPT_STRUCTURED_REPLY  8u
#define NBDS_OPT_LIST_META_CONTEXT 9u
#define NBDS_OPT_SET_META_CONTEXT  10u
#define NBDS_OPTION_HEAD_BYTES     16u

#define NBDS_REP_MAGIC        UINT64_C(0x0003e889045565a9)
#define NBDS_REP_HEAD_BYTES   20u
#define NBDS_REP_ACK          1u
#define NBDS_REP_SERVER       2u
#define NBDS_REP_INFO         3u
#define NBDS_REP_META_CONTEXT 4u
#define NBDS_REP_ERR_UNSUP    0x80000001u
#define NBDS_REP_ERR_POLICY   0x80000002u
#define NBDS_REP_ERR_INVALID  0x80000003u
#define NBDS_REP_ERR_TLS_REQD 0x80000005u
#define NBDS_REP_ERR_UNKNOWN  0x80000006u

#define NBDS_INFO_EXPORT      0u
#define NBDS_INFO_NAME        1u
#define NBDS_INFO_DESCRIPTION 2u
#define NBDS_INFO_BLOCK_SIZE  3u

/* ---- what an export can do */
#define NBDS_CAN_FLAGS        0x1u
#define NBDS_IS_READ_ONLY     0x2u
#define NBDS_CAN_FLUSH        0x4u
#define NBDS_CAN_FUA          0x8u
#define NBDS_CAN_TRIM         0x20u
#define NBDS_CAN_WRITE_ZEROES 0x40u
#define NBDS_CAN_DF           0x80u
#define NBDS_CAN_MULTI_CONN   0x100u
#define NBDS_CAN_CACHE        0x400u
#define NBDS_CAN_FAST_ZERO    0x800u

/* ---- requests: u32 magic, u16 flags, u16 type, u64 cookie, u64 offset, u32 length */
#define NBDS_REQUEST_MAGIC      0x25609513u
#define NBDS_REQUEST_HEAD_BYTES 28u

#define NBDS_CMD_READ         0u
#define NBDS_CMD_WRITE        1u
#define NBDS_CMD_DISC         2u
#define NBDS_CMD_FLUSH        3u
#define NBDS_CMD_TRIM         4u
#define NBDS_CMD_CACHE        5u
#define NBDS_CMD_WRITE_ZEROES 6u
#define NBDS_CMD_BLOCK_STATUS 7u

#define NBDS_CMD_FLAG_FUA       0x1u
#define NBDS_CMD_FLAG_NO_HOLE   0x2u
#define NBDS_CMD_FLAG_DF        0x4u
#define NBDS_CMD_FLAG_REQ_ONE   0x8u
#define NBDS_CMD_FLAG_FAST_ZERO 0x10u

/* ---- replies: simple u32 magic, u32 error, u64 cookie;
 * chunk u32 magic, u16 flags, u16 type, u64 cookie, u32 length */
#define NBDS_SIMPLE_MAGIC      0x67446698u
#define NBDS_SIMPLE_HEAD_BYTES 16u
#define NBDS_CHUNK_MAGIC       0x668e33efu
#define NBDS_CHUNK_HEAD_BYTES  20u
#define NBDS_CHUNK_DONE        0x1u

#define NBDS_CHUNK_NONE         0u
#define NBDS_CHUNK_OFFSET_DATA  1u
#define NBDS_CHUNK_OFFSET_HOLE  2u
#define NBDS_CHUNK_BLOCK_STATUS 5u
#define NBDS_CHUNK_ERROR        0x8001u

#define NBDS_STATE_HOLE 0x1u
#define NBDS_STATE_ZERO 0x2u

/* ---- errors on the wire */
#define NBDS_EPERM     1u
#define NBDS_EIO       5u
#define NBDS_ENOMEM    12u
#define NBDS_EINVAL    22u
#define NBDS_ENOSPC    28u
#define NBDS_EOVERFLOW 75u
#define NBDS_ENOTSUP   95u
#define NBDS_ESHUTDOWN 108u

#endif
