//! Fixed newstyle negotiation: greeting, options, replies to options.

use super::{Fields, Malformed, TransmissionFlags, text};

const NBD_MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// What follows the reply to `NBD_OPT_EXPORT_NAME` unless both sides agreed to leave it out.
const RESERVED_ZEROES: usize = 124;

bitflags::bitflags! {
    /// What the client understands of the handshake. The server offers the same bits in 16-bit flags of its own.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct ClientFlags: u32 {
        const FIXED_NEWSTYLE = 1;
        const NO_ZEROES = 2;
    }
}

impl ClientFlags {
    pub(crate) const LEN: usize = 4;

    pub(crate) fn decode(bytes: [u8; Self::LEN]) -> Result<ClientFlags, Malformed> {
        let bits = u32::from_be_bytes(bytes);
        ClientFlags::from_bits(bits).ok_or(Malformed::ClientFlags(bits))
    }
}

/// What the server says first.
pub(crate) struct Greeting;

impl Greeting {
    pub(crate) const LEN: usize = 18;

    pub(crate) fn encode() -> [u8; Self::LEN] {
        const FIXED_NEWSTYLE_AND_NO_ZEROES: u16 = 3;
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&NBD_MAGIC.to_be_bytes());
        bytes[8..16].copy_from_slice(&OPTION_MAGIC.to_be_bytes());
        bytes[16..].copy_from_slice(&FIXED_NEWSTYLE_AND_NO_ZEROES.to_be_bytes());
        bytes
    }
}

/// What precedes an option's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionHeader {
    pub(crate) number: u32,
    pub(crate) length: u32,
}

impl OptionHeader {
    pub(crate) const LEN: usize = 16;

    pub(crate) fn decode(bytes: &[u8; Self::LEN]) -> Result<OptionHeader, Malformed> {
        let mut fields = Fields(bytes);
        let magic = fields.u64()?;
        if magic != OPTION_MAGIC {
            return Err(Malformed::Magic(magic));
        }
        Ok(OptionHeader { number: fields.u32()?, length: fields.u32()? })
    }

    pub(crate) fn is_export_name(self) -> bool {
        self.number == EXPORT_NAME
    }
}

const EXPORT_NAME: u32 = 1;

/// One option, as the client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Haggle {
    ExportName(String),
    Abort,
    List,
    StartTls,
    Info(ExportQuery),
    Go(ExportQuery),
    StructuredReply,
    ListMetaContext(ContextQuery),
    SetMetaContext(ContextQuery),
    ExtendedHeaders,
    Unknown(u32),
}

/// Data of `NBD_OPT_INFO` and `NBD_OPT_GO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExportQuery {
    pub(crate) name: String,
    /// Numbers of the information wanted, known to us or not.
    pub(crate) wants: Vec<u16>,
}

impl ExportQuery {
    pub(crate) const NAME: u16 = 1;
    pub(crate) const BLOCK_SIZE: u16 = 3;

    fn decode(data: &[u8]) -> Result<ExportQuery, Malformed> {
        let mut fields = Fields(data);
        let name = fields.string()?;
        let count = fields.u16()?;
        let wants = (0..count).map(|_| fields.u16()).collect::<Result<_, _>>()?;
        fields.end()?;
        Ok(ExportQuery { name, wants })
    }
}

/// Data of `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContextQuery {
    pub(crate) name: String,
    pub(crate) queries: Vec<String>,
}

impl ContextQuery {
    fn decode(data: &[u8]) -> Result<ContextQuery, Malformed> {
        let mut fields = Fields(data);
        let name = fields.string()?;
        let count = fields.u32()?;
        let mut queries = Vec::new();
        for _ in 0..count {
            queries.push(fields.string()?);
        }
        fields.end()?;
        Ok(ContextQuery { name, queries })
    }
}

impl Haggle {
    /// The option in these bytes; `data` is as long as its header said.
    pub(crate) fn decode(number: u32, data: &[u8]) -> Result<Haggle, Malformed> {
        let without_data = |option: Haggle| if data.is_empty() { Ok(option) } else { Err(Malformed::Length) };
        match number {
            EXPORT_NAME => text(data).map(Haggle::ExportName),
            2 => Ok(Haggle::Abort),
            3 => without_data(Haggle::List),
            5 => without_data(Haggle::StartTls),
            6 => ExportQuery::decode(data).map(Haggle::Info),
            7 => ExportQuery::decode(data).map(Haggle::Go),
            8 => without_data(Haggle::StructuredReply),
            9 => ContextQuery::decode(data).map(Haggle::ListMetaContext),
            10 => ContextQuery::decode(data).map(Haggle::SetMetaContext),
            11 => without_data(Haggle::ExtendedHeaders),
            unknown => Ok(Haggle::Unknown(unknown)),
        }
    }
}

/// Why an option is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Refusal {
    Unsupported = (1 << 31) + 1,
    Policy = (1 << 31) + 2,
    Invalid = (1 << 31) + 3,
    TlsRequired = (1 << 31) + 5,
    UnknownExport = (1 << 31) + 6,
    TooBig = (1 << 31) + 9,
    ExtendedRequired = (1 << 31) + 10,
}

/// One message of the server about an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OptionReply {
    Ack,
    Server(String),
    Info(Info),
    MetaContext { id: u32, name: &'static str },
    Refused(Refusal, String),
}

/// What is told about an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Info {
    Export { size_bytes: u64, flags: TransmissionFlags },
    Name(String),
    BlockSize { minimum: u32, preferred: u32, maximum: u32 },
}

impl Info {
    fn encode(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(16);
        match self {
            Info::Export { size_bytes, flags } => {
                data.extend(0_u16.to_be_bytes());
                data.extend(size_bytes.to_be_bytes());
                data.extend(flags.bits().to_be_bytes());
            }
            Info::Name(name) => {
                data.extend(ExportQuery::NAME.to_be_bytes());
                data.extend(name.as_bytes());
            }
            Info::BlockSize { minimum, preferred, maximum } => {
                data.extend(ExportQuery::BLOCK_SIZE.to_be_bytes());
                [minimum, preferred, maximum].into_iter().for_each(|size| data.extend(size.to_be_bytes()));
            }
        }
        data
    }
}

impl OptionReply {
    /// The message as an answer to option `number`.
    pub(crate) fn encode(&self, number: u32) -> Vec<u8> {
        let (kind, data) = self.kind_and_data();
        let length = u32::try_from(data.len()).expect("names and messages are a few KiB at most");
        let mut bytes = Vec::with_capacity(20 + data.len());
        bytes.extend(REPLY_MAGIC.to_be_bytes());
        bytes.extend(number.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(data);
        bytes
    }

    fn kind_and_data(&self) -> (u32, Vec<u8>) {
        match self {
            OptionReply::Ack => (1, Vec::new()),
            OptionReply::Server(name) => {
                let length =
                    u32::try_from(name.len()).expect("an export's name is a few hundred bytes at most");
                (2, [&length.to_be_bytes(), name.as_bytes()].concat())
            }
            OptionReply::Info(info) => (3, info.encode()),
            OptionReply::MetaContext { id, name } => (4, [&id.to_be_bytes(), name.as_bytes()].concat()),
            OptionReply::Refused(refusal, message) => (*refusal as u32, message.as_bytes().to_vec()),
        }
    }
}

/// The answer to `NBD_OPT_EXPORT_NAME`, which has a form of its own.
pub(crate) fn export_name_reply(size_bytes: u64, flags: TransmissionFlags, client: ClientFlags) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(10 + RESERVED_ZEROES);
    bytes.extend(size_bytes.to_be_bytes());
    bytes.extend(flags.bits().to_be_bytes());
    if !client.contains(ClientFlags::NO_ZEROES) {
        bytes.extend([0; RESERVED_ZEROES]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::STRING_MAX;

    fn go(name: &[u8], wants: &[u16]) -> Vec<u8> {
        let mut data = u32::try_from(name.len()).unwrap().to_be_bytes().to_vec();
        data.extend(name);
        data.extend(u16::try_from(wants.len()).unwrap().to_be_bytes());
        wants.iter().for_each(|want| data.extend(want.to_be_bytes()));
        data
    }

    #[test]
    fn go_carries_name_and_wanted_information() {
        let option = Haggle::decode(7, &go(b"disk", &[3, 99])).unwrap();
        assert_eq!(option, Haggle::Go(ExportQuery { name: "disk".into(), wants: vec![3, 99] }));
    }

    #[test]
    fn option_cut_anywhere_is_an_error() {
        let whole = go(b"disk", &[3]);
        for length in 0..whole.len() {
            assert_eq!(Haggle::decode(7, &whole[..length]), Err(Malformed::Length), "{length} bytes");
        }
        assert_eq!(Haggle::decode(7, &[whole, vec![0]].concat()), Err(Malformed::Length));
    }

    #[test]
    fn huge_counts_and_lengths_inside_an_option_are_errors() {
        let name_of_4_gib = [&u32::MAX.to_be_bytes()[..], b"disk", &[0, 0]].concat();
        assert_eq!(Haggle::decode(6, &name_of_4_gib), Err(Malformed::Length));
        let four_billion_queries = [&[0, 0, 0, 1, b'd'][..], &u32::MAX.to_be_bytes()].concat();
        assert_eq!(Haggle::decode(10, &four_billion_queries), Err(Malformed::Length));
    }

    #[test]
    fn names_are_text_of_bounded_length() {
        assert_eq!(Haggle::decode(1, b"a\0b"), Err(Malformed::NotText));
        assert_eq!(Haggle::decode(1, &[0xff, 0xfe]), Err(Malformed::NotText));
        assert_eq!(Haggle::decode(1, &[b'a'; STRING_MAX + 1]), Err(Malformed::LongString(STRING_MAX + 1)));
    }

    #[test]
    fn options_without_data_refuse_data_but_abort_ignores_it() {
        for number in [3, 5, 8, 11] {
            assert_eq!(Haggle::decode(number, b"x"), Err(Malformed::Length), "option {number}");
        }
        assert_eq!(Haggle::decode(2, b"bye"), Ok(Haggle::Abort));
    }

    #[test]
    fn any_noise_is_an_option_or_an_error() {
        let mut state = 1_u32;
        for round in 0..4000 {
            let mut noise = [0_u8; 48];
            for byte in &mut noise {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = if round % 2 == 0 { state.to_be_bytes()[0] } else { state.to_be_bytes()[0] & 3 };
            }
            let _ = Haggle::decode(u32::from(noise[0] % 14), &noise[1..usize::from(noise[1]) % 48 + 1]);
        }
    }

    #[test]
    fn a_refusal_carries_its_number_and_message() {
        let bytes = OptionReply::Refused(Refusal::UnknownExport, "no such export".into()).encode(7);
        assert_eq!(bytes[..8], REPLY_MAGIC.to_be_bytes());
        assert_eq!(bytes[8..20], [0, 0, 0, 7, 0x80, 0, 0, 6, 0, 0, 0, 14]);
        assert_eq!(&bytes[20..], b"no such export");
    }

    #[test]
    fn export_name_reply_has_reserved_zeroes_unless_agreed_otherwise() {
        let flags = TransmissionFlags::HAS_FLAGS;
        assert_eq!(export_name_reply(1, flags, ClientFlags::FIXED_NEWSTYLE).len(), 134);
        assert_eq!(export_name_reply(1, flags, ClientFlags::all()).len(), 10);
    }
}
