//! Requests and replies, byte for byte.

use super::*;

fn bytes_of(flags: u16, command: u16, offset: u64, length: u32) -> Vec<u8> {
    let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(7_u64.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes
}

fn extended_bytes_of(flags: u16, command: u16, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = bytes_of(flags, command, offset, 0);
    bytes[..4].copy_from_slice(&EXTENDED_REQUEST_MAGIC.to_be_bytes());
    bytes.truncate(24);
    bytes.extend(length.to_be_bytes());
    bytes
}

fn request() -> Request {
    Request::decode(Style::Simple, &bytes_of(0, 0, 4096, 512)).unwrap()
}

#[test]
fn a_request_is_what_its_bytes_say() {
    let request = Request::decode(Style::Simple, &bytes_of(1, 1, 4096, 512)).unwrap();
    assert_eq!(request.command, Command::Write);
    assert_eq!((request.flags, request.cookie, request.end()), (CommandFlags::FUA, 7, Some(4608)));
    assert_eq!(request.payload, 512);
}

#[test]
fn flags_and_commands_without_meaning_are_kept_for_the_answer() {
    let request = Request::decode(Style::Structured, &bytes_of(1 << 9, 77, 0, 0)).unwrap();
    assert_eq!(request.command, Command::Unknown(77));
    assert!(!request.command.allowed_flags().contains(request.flags));
}

#[test]
fn a_range_past_64_bits_has_no_end() {
    assert_eq!(Request::decode(Style::Simple, &bytes_of(0, 0, u64::MAX, 2)).unwrap().end(), None);
}

#[test]
fn a_wrong_magic_is_an_error() {
    let mut bytes = bytes_of(0, 0, 0, 0);
    assert_eq!(Request::decode(Style::Extended, &bytes), Err(Malformed::Magic(REQUEST_MAGIC.into())));
    bytes[0] ^= 1;
    assert_eq!(Request::decode(Style::Simple, &bytes), Err(Malformed::Magic(0x2460_9513)));
}

#[test]
fn in_extended_requests_a_flag_says_that_a_payload_follows_and_for_writes_goes_without_saying() {
    let decode = |flags, command| {
        Request::decode(Style::Extended, &extended_bytes_of(flags, command, 0, 1 << 40)).unwrap()
    };
    let (write, without, status) = (decode(1 << 5, 1), decode(0, 1), decode(1 << 5, 7));
    assert_eq!((write.payload, write.length, write.flags), (1 << 40, 1 << 40, CommandFlags::empty()));
    assert_eq!(without, write);
    assert_eq!((status.payload, status.flags), (1 << 40, CommandFlags::PAYLOAD_LEN));
}

#[test]
fn a_long_error_message_is_cut_between_characters() {
    let mut out = Vec::new();
    Style::Structured.error(&mut out, &request(), Errno::InputOutput, &"é".repeat(STRING_MAX));
    assert_eq!(out.len(), 20 + 6 + STRING_MAX);
    let odd = format!("x{}", "é".repeat(STRING_MAX));
    out.clear();
    Style::Structured.error(&mut out, &request(), Errno::InputOutput, &odd);
    assert_eq!(out.len(), 20 + 6 + STRING_MAX - 1);
}

#[test]
fn a_block_status_reply_lists_lengths_and_states() {
    let extents = [Extent { length: 4096, is_data: true }, Extent { length: 8192, is_data: false }];
    let mut out = Vec::new();
    Style::Structured.block_status(&mut out, &request(), &extents);
    assert_eq!(out[4..8], [0, 1, 0, 5]);
    assert_eq!(out[16..24], [0, 0, 0, 20, 0, 0, 0, 1]);
    assert_eq!(out[24..], [0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 3]);
}

#[test]
fn an_extended_reply_repeats_the_offset_and_has_64_bit_lengths() {
    let mut out = Vec::new();
    Style::Extended.block_status(&mut out, &request(), &[Extent { length: 1 << 40, is_data: false }]);
    assert_eq!(out[..8], [0x6e, 0x8a, 0x27, 0x8c, 0, 1, 0, 6]);
    assert_eq!(out[8..32], [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 24]);
    assert_eq!(out[32..], [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    out.clear();
    Style::Extended.done(&mut out, &request());
    assert_eq!((out.len(), &out[4..8]), (32, &[0, 1, 0, 0][..]));
}
