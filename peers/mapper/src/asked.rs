//! A request as the flows need it, and what they answer.

use protocol::{ErrorKind, Failure, Flags, Message, Op, VolumeInfo};
use volume::{ObjectName, RequestId};
use xseg::Held;

/// What a request asks for, copied out of the segment once.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) op: Op,
    pub(crate) flags: Flags,
    /// The volume; without meaning for list and collect.
    pub(crate) name: ObjectName,
    /// The request's id, which the root of what it changes remembers.
    pub(crate) cause: RequestId,
    /// Whether a mapper that died may have done some of it, or all.
    pub(crate) is_again: bool,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    argument: Vec<u8>,
    /// Room for an answer in the buffer, in bytes.
    pub(crate) room: u64,
    /// What came in the buffer, where the operation reads it.
    pub(crate) data: Vec<u8>,
}

/// What a flow answers.
#[derive(Debug)]
pub(crate) enum Answer {
    Done,
    /// A message in the reply's argument.
    Argument(Vec<u8>),
    /// What is known of a volume; its size stands apart too, for those who read no messages.
    Info(VolumeInfo),
    /// A message in the reply's buffer.
    Buffer(Vec<u8>),
}

impl Asked {
    pub(crate) fn of(request: &Held) -> Result<Asked, Failure> {
        let target = request.target();
        let op = Op::from_number(request.op()).ok_or_else(|| unknown(request.op()))?;
        let name = std::str::from_utf8(target.as_ref()).ok().and_then(ObjectName::new);
        let name = name.ok_or_else(|| {
            let shown = target.as_ref().escape_ascii();
            Failure::new(ErrorKind::Invalid, format!("\"{shown}\" is not the name of a volume"))
        })?;
        Ok(Asked {
            op,
            flags: Flags::from_bits_truncate(request.flags()),
            name,
            cause: cause_of(request.id()),
            is_again: request.attempts() > 0,
            offset: request.offset(),
            size: request.size(),
            argument: request.argument().as_ref().to_vec(),
            room: request.buffer_bytes(),
            data: data_of(op, request)?,
        })
    }

    /// The typed argument.
    pub(crate) fn argument<M: Message>(&self) -> Result<M, Failure> {
        M::decode(&self.argument).map_err(|error| {
            Failure::new(ErrorKind::Invalid, format!("cannot {} {}: {error}", self.op.name(), self.name))
        })
    }
}

fn data_of(op: Op, request: &Held) -> Result<Vec<u8>, Failure> {
    if op != Op::Create {
        return Ok(Vec::new());
    }
    let length = usize::try_from(request.size().min(request.buffer_bytes())).unwrap_or(0);
    let mut data = vec![0; length];
    let unread = |error| Failure::new(ErrorKind::Invalid, format!("cannot read the list of blocks: {error}"));
    request.read(0, &mut data).map_err(unread)?;
    Ok(data)
}

fn cause_of(id: xseg::RequestId) -> RequestId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&id.segment.to_le_bytes());
    bytes[8..12].copy_from_slice(&id.port.to_le_bytes());
    bytes[12..16].copy_from_slice(&id.incarnation.to_le_bytes());
    bytes[16..24].copy_from_slice(&id.serial.to_le_bytes());
    RequestId(bytes)
}

fn unknown(op: u16) -> Failure {
    Failure::new(ErrorKind::Unsupported, format!("a mapper knows no operation {op}"))
}

impl Answer {
    /// Puts the answer into the reply.
    pub(crate) fn fill(&self, request: &mut Held) -> Result<(), Failure> {
        let too_long = |error: xseg::Error| {
            Failure::new(ErrorKind::Invalid, format!("the request has no room for its answer: {error}"))
        };
        match self {
            Answer::Done => Ok(()),
            Answer::Argument(bytes) => request.set_argument(bytes).map_err(too_long),
            Answer::Info(info) => {
                request.set_serviced(info.size_bytes);
                request.set_argument(&info.encode()).map_err(too_long)
            }
            Answer::Buffer(bytes) => {
                request.write(0, bytes).map_err(too_long)?;
                request.set_serviced(u64::try_from(bytes.len()).unwrap_or(0));
                Ok(())
            }
        }
    }
}

/// The text, or as much of it as is sure to fit into an answer.
pub(crate) fn cut(text: String, limit: usize) -> String {
    if text.len() <= limit { text } else { text.chars().take(limit / 4).collect() }
}
