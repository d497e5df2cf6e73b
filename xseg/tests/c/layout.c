/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Prints every size, offset and constant of xseg_abi.h, for a test to compare. */
#include <stddef.h>
#include <stdio.h>

#include "xseg_abi.h"

#define SIZE(type) printf(#type " %zu\n", sizeof(struct xseg_##type))
#define FIELD(type, field) printf(#type "." #field " %zu\n", offsetof(struct xseg_##type, field))
#define NUMBER(name) printf(#name " %llu\n", (unsigned long long)(name))

int main(void)
{
	SIZE(header); FIELD(header, magic); FIELD(header, version); FIELD(header, header_bytes); FIELD(header, features);
	FIELD(header, segment_id); FIELD(header, ports); FIELD(header, static_ports); FIELD(header, requests);
	FIELD(header, request_bytes); FIELD(header, arena_bytes); FIELD(header, total_bytes); FIELD(header, port_table);
	FIELD(header, table_slabs); FIELD(header, arena_slabs); FIELD(header, request_table); FIELD(header, trace);
	FIELD(header, arena); FIELD(header, pid_namespace); FIELD(header, reserved);
	SIZE(counters); FIELD(counters, anomalies); FIELD(counters, deaths); FIELD(counters, tracing);
	FIELD(counters, trace_cursor);
	SIZE(port); FIELD(port, inbox); FIELD(port, audit); FIELD(port, owner); FIELD(port, incarnation); FIELD(port, via);
	SIZE(slot); FIELD(slot, state); FIELD(slot, next); FIELD(slot, to); FIELD(slot, arrival); FIELD(slot, buffer_at);
	FIELD(slot, buffer_bytes); FIELD(slot, serviced); FIELD(slot, status); FIELD(slot, result_bytes);
	FIELD(slot, path); FIELD(slot, op); FIELD(slot, flags); FIELD(slot, target_bytes); FIELD(slot, argument_bytes);
	FIELD(slot, offset); FIELD(slot, size); FIELD(slot, fence); FIELD(slot, flow); FIELD(slot, serial);
	FIELD(slot, incarnation); FIELD(slot, parent); FIELD(slot, reserved); FIELD(slot, target); FIELD(slot, argument);
	FIELD(slot, result);
	SIZE(trace_event); FIELD(trace_event, number); FIELD(trace_event, at_ns); FIELD(trace_event, port);
	FIELD(trace_event, step); FIELD(trace_event, slot); FIELD(trace_event, origin); FIELD(trace_event, incarnation);
	FIELD(trace_event, other); FIELD(trace_event, serial);
	FIELD(trace_event, parent); FIELD(trace_event, op);
	NUMBER(XSEG_VERSION); NUMBER(XSEG_MAGIC); NUMBER(XSEG_FEATURES); NUMBER(XSEG_SLAB_REQUESTS);
	NUMBER(XSEG_SLAB_BYTES); NUMBER(XSEG_HEADER_BYTES); NUMBER(XSEG_COUNTERS_AT); NUMBER(XSEG_TRACE_EVENTS);
	NUMBER(XSEG_INBOX_EMPTY); NUMBER(XSEG_INBOX_SLEEPING); NUMBER(XSEG_INBOX_FIRST);
	return 0;
}
