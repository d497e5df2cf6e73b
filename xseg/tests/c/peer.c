/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * A peer in C, from the header alone, for a test among Rust peers.
 *
 *   peer serve NAME PORT COUNT      binds a static port and answers COUNT requests
 *   peer ask NAME PORT TO COUNT     binds a static port and sends COUNT requests to TO, one after the other
 *
 * It takes over nothing: its port must be fresh.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "xseg_abi.h"

static unsigned char *base;
static struct xseg_header head;
static xseg_u32 self, incarnation;

#define ATOMIC32(word) ((_Atomic xseg_u32 *)&(word))
#define ATOMIC64(word) ((_Atomic xseg_u64 *)&(word))

static void fail(const char *what)
{
	fprintf(stderr, "peer: cannot %s\n", what);
	exit(1);
}

static struct xseg_port *port_of(xseg_u32 port)
{
	return (struct xseg_port *)(base + head.port_table) + port;
}

static struct xseg_slot *slot_of(xseg_u32 slot)
{
	return (struct xseg_slot *)(base + head.request_table) + slot;
}

static void open_segment(const char *name)
{
	char path[300];
	struct stat stat;
	int fd;

	snprintf(path, sizeof(path), "/dev/shm/%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &stat) < 0 || stat.st_size < XSEG_HEADER_BYTES)
		fail("open the segment");
	base = mmap(NULL, stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		fail("map the segment");
	memcpy(&head, base, sizeof(head));
	if (head.magic != XSEG_MAGIC || head.version != XSEG_VERSION || head.features & ~XSEG_FEATURES ||
	    head.request_bytes != sizeof(struct xseg_slot) || head.total_bytes != (xseg_u64)stat.st_size)
		fail("understand the segment");
	close(fd);
}

/* Field 22 of /proc/self/stat, counted from the last ')'. */
static xseg_u64 start_time(void)
{
	char text[1024], *at;
	FILE *file = fopen("/proc/self/stat", "r");
	size_t len = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
	int field;

	text[len] = 0;
	at = strrchr(text, ')');
	for (field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		fail("read its start time");
	fclose(file);
	return strtoull(at, NULL, 10);
}

static void bind_port(xseg_u32 port)
{
	xseg_u64 nobody = 0, me = XSEG_OWNER(getpid(), start_time());

	if (port >= head.static_ports ||
	    !atomic_compare_exchange_strong(ATOMIC64(port_of(port)->owner), &nobody, me))
		fail("bind the port");
	self = port;
	incarnation = atomic_load(ATOMIC32(port_of(port)->incarnation)) + 1;
	atomic_store(ATOMIC32(port_of(port)->incarnation), incarnation);
}

static void leave_port(void)
{
	atomic_store(ATOMIC64(port_of(self)->owner), 0);
}

/* Claims one slab; its index. */
static xseg_u32 claim(xseg_u64 table, xseg_u64 count)
{
	xseg_u64 *owners = (xseg_u64 *)(base + table);
	xseg_u64 slab;

	for (slab = 0; slab < count; slab++) {
		xseg_u64 nobody = 0;

		if (atomic_compare_exchange_strong(ATOMIC64(owners[slab]), &nobody, XSEG_HOLDER(self, incarnation)))
			return slab;
	}
	fail("claim a slab");
	return 0;
}

static void push(xseg_u32 slot, xseg_u32 target, xseg_u32 reply, xseg_u32 depth)
{
	struct xseg_slot *it = slot_of(slot);
	_Atomic xseg_u32 *inbox = ATOMIC32(port_of(target)->inbox);
	xseg_u32 seen = XSEG_INBOX_EMPTY;

	atomic_store_explicit(ATOMIC32(it->to), target, memory_order_relaxed);
	atomic_store_explicit(ATOMIC64(it->state), XSEG_STATE(XSEG_PASSING, reply, depth, self, incarnation),
			      memory_order_release);
	do {
		atomic_store_explicit(ATOMIC32(it->next), seen, memory_order_relaxed);
	} while (!atomic_compare_exchange_strong(inbox, &seen, slot + XSEG_INBOX_FIRST));
	if (seen == XSEG_INBOX_SLEEPING)
		syscall(SYS_futex, inbox, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void sleep_on_inbox(void)
{
	_Atomic xseg_u32 *inbox = ATOMIC32(port_of(self)->inbox);
	xseg_u32 word = XSEG_INBOX_EMPTY;
	struct timespec second = { 1, 0 };

	if (atomic_compare_exchange_strong(inbox, &word, XSEG_INBOX_SLEEPING))
		syscall(SYS_futex, inbox, FUTEX_WAIT, XSEG_INBOX_SLEEPING, &second, NULL, 0);
	word = XSEG_INBOX_SLEEPING;
	atomic_compare_exchange_strong(inbox, &word, XSEG_INBOX_EMPTY);
}

/* Marks what is linked from `link` back to `stop`; writes the slots, newest first. How many there are now. */
static xseg_u32 walk(xseg_u32 link, xseg_u32 stop, xseg_u32 *slots, xseg_u32 count)
{
	while (link >= XSEG_INBOX_FIRST && link != stop) {
		xseg_u32 slot = link - XSEG_INBOX_FIRST;
		xseg_u64 word;

		if (slot >= head.requests || count >= head.requests)
			fail("follow the chain");
		word = atomic_load(ATOMIC64(slot_of(slot)->state));
		if (XSEG_STATE_PHASE(word) != XSEG_PASSING || atomic_load(ATOMIC32(slot_of(slot)->to)) != self)
			fail("take a request that is not for it");
		atomic_store(ATOMIC64(slot_of(slot)->state),
			     XSEG_STATE(XSEG_HELD, XSEG_STATE_REPLY(word), XSEG_STATE_DEPTH(word), self, incarnation));
		slots[count++] = slot;
		link = atomic_load(ATOMIC32(slot_of(slot)->next));
	}
	return count;
}

/* Takes what is in the inbox, waiting until there is something; `slots` oldest first. */
static xseg_u32 receive(xseg_u32 *slots)
{
	_Atomic xseg_u32 *inbox = ATOMIC32(port_of(self)->inbox);
	xseg_u32 word, stop = XSEG_INBOX_EMPTY, count = 0;

	while ((word = atomic_load(inbox)) < XSEG_INBOX_FIRST)
		sleep_on_inbox();
	for (;;) {
		xseg_u32 first = count, left, right;

		count = walk(word, stop, slots, count);
		for (left = first, right = count; left + 1 < right; left++) {
			xseg_u32 slot = slots[--right];

			slots[right] = slots[left];
			slots[left] = slot;
		}
		stop = word;
		if (atomic_compare_exchange_strong(inbox, &word, XSEG_INBOX_EMPTY))
			return count;
	}
}

static unsigned char *buffer_of(const struct xseg_slot *it, xseg_u64 bytes)
{
	xseg_u64 at = it->buffer_at, len = it->buffer_bytes;

	if (len < bytes || at > head.arena_bytes || len > head.arena_bytes - at)
		fail("use a buffer outside the arena");
	return base + head.arena + at;
}

/* Answers with the sum of the first 64 bytes of the buffer, which become their complement. */
static void serve(xseg_u32 *slots, unsigned long count)
{
	while (count) {
		xseg_u32 got = receive(slots), at, byte;

		for (at = 0; at < got; at++, count--) {
			struct xseg_slot *it = slot_of(slots[at]);
			xseg_u64 word = it->state;
			xseg_u32 depth = XSEG_STATE_DEPTH(word);
			unsigned char *buffer = buffer_of(it, 64);

			if (XSEG_STATE_REPLY(word) || depth == 0 || depth > XSEG_PATH_ENTRIES)
				fail("serve a reply");
			it->serviced = 0;
			for (byte = 0; byte < 64; byte++) {
				it->serviced += buffer[byte];
				buffer[byte] = ~buffer[byte];
			}
			it->status = 0;
			it->result_bytes = it->argument_bytes;
			memcpy(it->result, it->argument, sizeof(it->argument));
			push(slots[at], XSEG_HOLDER_PORT(it->path[depth - 1]), 1, depth - 1);
		}
	}
}

/* Sends the numbers below `count` as offsets; each must come back as `serviced`, and in the buffer. */
static void ask(xseg_u32 *slots, xseg_u32 to, unsigned long count)
{
	xseg_u32 slab = claim(head.table_slabs, head.requests / XSEG_SLAB_REQUESTS);
	xseg_u32 arena = claim(head.arena_slabs, head.arena_bytes / XSEG_SLAB_BYTES);
	xseg_u32 slot = slab * XSEG_SLAB_REQUESTS, at;
	struct xseg_slot *it = slot_of(slot);
	unsigned long number;

	for (at = 0; at < XSEG_SLAB_REQUESTS; at++)
		slot_of(slot + at)->state = XSEG_STATE(XSEG_FREE, 0, 0, self, incarnation);
	for (number = 0; number < count; number++) {
		xseg_u64 back;

		it->buffer_at = arena * XSEG_SLAB_BYTES;
		it->buffer_bytes = 4096;
		it->parent = 0;
		atomic_store(ATOMIC64(it->state), XSEG_STATE(XSEG_HELD, 0, 0, self, incarnation));
		it->op = 2;
		it->flags = 0;
		it->target_bytes = 6;
		memcpy(it->target, "volume", 6);
		it->argument_bytes = 0;
		it->offset = number;
		it->size = 4096;
		it->fence = it->flow = 0;
		it->serial = number + 1;
		it->incarnation = incarnation;
		it->arrival = 0;
		it->path[0] = XSEG_HOLDER(self, incarnation);
		push(slot, to, 0, 1);
		if (receive(slots) != 1 || slots[0] != slot || it->status != 0 || it->serviced != number)
			fail("get its own reply");
		memcpy(&back, buffer_of(it, 8), sizeof(back));
		if (back != number)
			fail("find the server's bytes in its buffer");
		atomic_store(ATOMIC64(it->state), XSEG_STATE(XSEG_FREE, 0, 0, self, incarnation));
	}
}

int main(int argc, char **argv)
{
	xseg_u32 *slots;

	if (argc < 5)
		fail("work without a role, segment, port and count");
	open_segment(argv[2]);
	slots = calloc(head.requests, sizeof(*slots));
	bind_port(atoi(argv[3]));
	if (slots && !strcmp(argv[1], "serve"))
		serve(slots, strtoul(argv[4], NULL, 10));
	else if (slots && !strcmp(argv[1], "ask") && argc == 6)
		ask(slots, atoi(argv[4]), strtoul(argv[5], NULL, 10));
	else
		fail("play this role");
	leave_port();
	return 0;
}
