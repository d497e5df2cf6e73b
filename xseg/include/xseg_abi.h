/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * xseg: the layout of a segment, and how peers use it, for peers in C and for the kernel.
 *
 * The same as xseg/src/abi.rs; a test compiles this header and compares every size and offset. Integers are native: a
 * segment never leaves its machine. Offsets are in bytes; the segment holds no pointers. Everything but the first 128
 * bytes changes at any time: read each word once, check it, then use the copy.
 */
#ifndef XSEG_ABI_H
#define XSEG_ABI_H

#ifdef __KERNEL__
#include <linux/types.h>
typedef __u8 xseg_u8;
typedef __u32 xseg_u32;
typedef __u64 xseg_u64;
#else
#include <stdint.h>
typedef uint8_t xseg_u8;
typedef uint32_t xseg_u32;
typedef uint64_t xseg_u64;
#endif

#define XSEG_VERSION 1u
/* "xsegment", read as a little-endian number */
#define XSEG_MAGIC 0x746e656d67657378ull
#define XSEG_FEATURES 0ull

#define XSEG_SLAB_REQUESTS 16u
#define XSEG_SLAB_BYTES 65536ull
#define XSEG_TARGET_BYTES 256
#define XSEG_ARGUMENT_BYTES 512
#define XSEG_PATH_ENTRIES 8
#define XSEG_HEADER_BYTES 4096
#define XSEG_COUNTERS_AT 256
#define XSEG_TRACE_EVENTS 4096u

/* Fixed part of the header, at offset 0. */
struct xseg_header {
	xseg_u64 magic;
	xseg_u32 version;
	xseg_u32 header_bytes;
	xseg_u64 features;       /* refuse a segment with a bit that is not in XSEG_FEATURES */
	xseg_u64 segment_id;
	xseg_u32 ports;
	xseg_u32 static_ports;   /* ports below are static, the others dynamic */
	xseg_u32 requests;       /* a multiple of XSEG_SLAB_REQUESTS */
	xseg_u32 request_bytes;  /* sizeof(struct xseg_slot) */
	xseg_u64 arena_bytes;    /* a multiple of XSEG_SLAB_BYTES */
	xseg_u64 total_bytes;
	xseg_u64 port_table;     /* struct xseg_port[ports] */
	xseg_u64 table_slabs;    /* u64[requests / XSEG_SLAB_REQUESTS]: owners, see XSEG_HOLDER */
	xseg_u64 arena_slabs;    /* u64[arena_bytes / XSEG_SLAB_BYTES]: owners */
	xseg_u64 request_table;  /* struct xseg_slot[requests] */
	xseg_u64 trace;          /* struct xseg_trace_event[XSEG_TRACE_EVENTS] */
	xseg_u64 arena;
	xseg_u64 pid_namespace;  /* inode of the creator's pid namespace */
	xseg_u64 reserved;
};

/* Counters, at XSEG_COUNTERS_AT. */
struct xseg_counters {
	xseg_u64 anomalies;
	xseg_u64 deaths;
	xseg_u64 reserved[6];
	xseg_u32 tracing;
	xseg_u32 reserved_tracing;
	xseg_u64 reserved_line[7];
	xseg_u64 trace_cursor;
	xseg_u64 reserved_end[7];
};

struct xseg_port {
	xseg_u32 inbox;          /* XSEG_INBOX_* */
	xseg_u32 audit;          /* not 0: look for what a dead pusher left */
	xseg_u64 reserved_inbox[7];
	xseg_u64 owner;          /* XSEG_OWNER, 0 for nobody */
	xseg_u32 incarnation;    /* counts the owners */
	xseg_u32 via;            /* port that gets what is submitted to this one, plus 1; 0 for none */
	xseg_u64 reserved[6];
};

struct xseg_slot {
	xseg_u64 state;          /* XSEG_STATE */
	xseg_u32 next;           /* older request in the same inbox, plus XSEG_INBOX_FIRST; less: the end */
	xseg_u32 to;             /* port into whose inbox it goes while it is passing */
	xseg_u64 arrival;        /* bit 0: handed out; 1-47: order of arrival; 48-63: attempts */
	xseg_u64 buffer_at;      /* from the beginning of the arena */
	xseg_u64 buffer_bytes;
	xseg_u64 serviced;       /* reply */
	xseg_u32 status;         /* reply */
	xseg_u32 result_bytes;   /* reply */
	xseg_u64 path[XSEG_PATH_ENTRIES]; /* XSEG_HOLDER of the ports it came through */
	xseg_u64 reserved_path;
	xseg_u32 op;
	xseg_u32 flags;
	xseg_u32 target_bytes;
	xseg_u32 argument_bytes;
	xseg_u64 offset;
	xseg_u64 size;
	xseg_u64 fence;
	xseg_u64 flow;
	xseg_u64 serial;         /* with origin and incarnation: the request's name for ever */
	xseg_u32 incarnation;    /* of the origin when it issued it */
	xseg_u32 parent;         /* slot whose buffer this one borrows, plus 1; 0 for none */
	xseg_u64 reserved[8];
	xseg_u8 target[XSEG_TARGET_BYTES];
	xseg_u8 argument[XSEG_ARGUMENT_BYTES];
	xseg_u8 result[XSEG_ARGUMENT_BYTES]; /* reply */
};

struct xseg_trace_event {
	xseg_u64 number;         /* position in the trace plus 1, written last */
	xseg_u64 at_ns;
	xseg_u32 port;
	xseg_u32 step;           /* 1 submit, 2 accept, 3 respond, 4 return */
	xseg_u32 slot;
	xseg_u32 origin;
	xseg_u32 incarnation;
	xseg_u32 other;
	xseg_u64 serial;
	xseg_u32 parent;         /* slot whose buffer the request borrows, plus 1; 0 none */
	xseg_u32 op;
	xseg_u64 reserved;
};

/* The inbox word: empty, empty and its owner sleeps on it, or the newest request's slot + XSEG_INBOX_FIRST. */
#define XSEG_INBOX_EMPTY 0u
#define XSEG_INBOX_SLEEPING 1u
#define XSEG_INBOX_FIRST 2u

/*
 * The state word: phase (bits 0-1), reply (2), depth of the path (3-6), zero (7), port (8-31), its incarnation (32-63).
 * One word, as all of it must change in one instant: a peer may die between any two stores.
 */
#define XSEG_FREE 0u
#define XSEG_HELD 1u
#define XSEG_PASSING 2u
#define XSEG_STATE(phase, reply, depth, port, incarnation) \
	((xseg_u64)(phase) | (xseg_u64)(reply) << 2 | (xseg_u64)(depth) << 3 | (xseg_u64)(port) << 8 | \
	 (xseg_u64)(incarnation) << 32)
#define XSEG_STATE_PHASE(word) ((xseg_u32)((word) & 3))
#define XSEG_STATE_REPLY(word) ((xseg_u32)((word) >> 2 & 1))
#define XSEG_STATE_DEPTH(word) ((xseg_u32)((word) >> 3 & 15))
#define XSEG_STATE_PORT(word) ((xseg_u32)((word) >> 8 & 0xffffff))
#define XSEG_STATE_INCARNATION(word) ((xseg_u32)((word) >> 32))

/* Owner of a slab, entry of a path: a port and its incarnation. 0 is nobody. */
#define XSEG_HOLDER(port, incarnation) (((xseg_u64)(port) + 1) | (xseg_u64)(incarnation) << 32)
#define XSEG_HOLDER_PORT(word) ((xseg_u32)(word) - 1)
#define XSEG_HOLDER_INCARNATION(word) ((xseg_u32)((word) >> 32))

/* Owner of a port: a process, by pid and start time in clock ticks since boot (field 22 of /proc/PID/stat). */
#define XSEG_OWNER(pid, start) ((xseg_u64)(pid) << 42 | ((xseg_u64)(start) & 0x3ffffffffffull))
#define XSEG_OWNER_PID(word) ((xseg_u32)((word) >> 42))

/*
 * What a peer does. All atomics; "release" and "acquire" as in C11.
 *
 * bind(port): owner must be 0 or dead; compare-and-swap it to XSEG_OWNER of this process; incarnation += 1 (only the
 *   owner writes it). Then take over (below). Then claim slabs: compare-and-swap owners from 0 to XSEG_HOLDER(port,
 *   incarnation); make the state of each slot in a claimed table slab XSEG_STATE(FREE, 0, 0, port, incarnation).
 *   Which slots and buffers are free is from then on known to this peer alone.
 *
 * allocate: write buffer_at, buffer_bytes, parent; then state <- HELD(self), release.
 *
 * submit(slot, to): follow the route: if via of `to` is set, is not this port, and is not on the path, it is the
 *   target instead. A dynamic target must have an owner. From home, write op ... incarnation, and arrival <- 0.
 *   path[depth] <- XSEG_HOLDER(self). Then push with reply 0 and depth + 1.
 *
 * push(slot, target, reply, depth): to <- target; state <- PASSING(self) with reply and depth, release; then
 *   until it succeeds: next <- word seen; compare-and-swap the target's inbox from the word seen to slot +
 *   XSEG_INBOX_FIRST, release. If the word seen was XSEG_INBOX_SLEEPING: futex-wake the inbox (shared futex).
 *   Never touch the slot after that.
 *
 * receive: load the inbox, acquire. Walk the chain: check each slot against the table, count no more than there are
 *   requests, state must be PASSING with `to` = self; state <- HELD(self) with the same reply and depth, release.
 *   Then compare-and-swap the inbox from the word loaded to EMPTY. If it has changed, walk only what is newer than
 *   the word loaded before, and try again. Oldest first: reverse. A request without reply is to be served; a reply of
 *   depth 0 is this peer's own come home; a reply of more depth is to be sent back further.
 *
 * respond(slot): write status, result_bytes, serviced; holder = path[depth - 1]. If its port is static, or it has an
 *   owner and this incarnation: push to it with reply 1 and depth - 1. Else skip it (status <- 7) and try the next.
 *   If none is left: state <- FREE(origin), where origin is the owner of the slot's slab.
 *
 * free(slot), of this peer's own at home: state <- FREE(self), release.
 *
 * sleep: compare-and-swap the inbox from EMPTY to SLEEPING; full fence; if audit is 0: futex-wait while it is
 *   SLEEPING, for a second at most. Then compare-and-swap SLEEPING to EMPTY.
 *
 * audit (the audit word is not 0): audit <- 0. Note the slots that are PASSING with `to` = self whose pusher is dead:
 *   its port's incarnation is another, or its owner does not live. Then receive. What is noted and still has the same
 *   state was never pushed: compare-and-swap it to HELD(self), and treat it as received.
 *
 * take over: as an audit, but slots that are HELD(this port) may be in the chain as well. Then every slot HELD(this
 *   port, older incarnation) becomes HELD(self): those of other origins are served (again), in the order of arrival,
 *   attempts + 1 if bit 0 of arrival is set; those of its own are freed. Where a slot is PASSING(this port, older
 *   incarnation), set the audit word of `to`, full fence, SLEEPING -> EMPTY, and futex-wake it in any case. Own slots
 *   that are neither free nor here are orphans: serve nothing before those without flag 256, and those with a parent,
 *   have come home.
 */

#endif
