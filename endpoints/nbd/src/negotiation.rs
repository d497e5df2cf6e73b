//! Option haggling: from the greeting to a chosen export.

use std::{
    io::{self, Read, Write},
    sync::Arc,
};

use protocol::{ErrorKind, Failure, Shape};

use crate::{
    Error,
    exports::{Export, Exports},
    wire::{
        ALLOCATION_CONTEXT, ALLOCATION_ID, ClientFlags, ContextQuery, ExportQuery, Greeting, Haggle, Info,
        Malformed, OPTION_MAX, OptionHeader, OptionReply, Refusal, Style, TransmissionFlags,
        export_name_reply,
    },
};

/// The size at which aligned requests cost no reading before writing, in bytes.
const PREFERRED_BLOCK: u32 = 4096;

/// What TLS is to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Not to be had.
    Off,
    /// Must be started before anything else.
    Required,
    /// In use.
    Active,
}

/// What the client and we agreed on besides the export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) style: Style,
    /// Block status may be asked for.
    pub(crate) allocation: bool,
}

/// Where haggling stops for its caller to act.
pub(crate) enum Step {
    /// The client asks for an export: answer with `describe`, `enter` or `refuse`.
    Wants(Wanted),
    /// Agreed: TLS begins with the next byte, and haggling anew after it.
    StartTls,
    /// The client is done, or cannot go on.
    End,
}

/// An export that a client asks for.
pub(crate) struct Wanted {
    pub(crate) export: Arc<Export>,
    /// Whether transmission begins when it is granted.
    pub(crate) is_final: bool,
    form: Form,
}

/// How the client asked, and so how it is answered.
enum Form {
    Old,
    New { number: u32, query: ExportQuery },
}

/// Haggling with one client over a stream.
pub(crate) struct Negotiation<'a, S> {
    stream: S,
    exports: &'a Exports,
    tls: Tls,
    client: ClientFlags,
    style: Style,
    /// The export for which `base:allocation` was selected last.
    allocation_of: Option<Arc<Export>>,
}

impl<'a, S: Read + Write> Negotiation<'a, S> {
    /// Greets a client.
    pub(crate) fn greet(mut stream: S, exports: &'a Exports, tls: Tls) -> Result<Self, Error> {
        stream.write_all(&Greeting::encode())?;
        let mut flags = [0; ClientFlags::LEN];
        stream.read_exact(&mut flags)?;
        Ok(Self::resume(stream, exports, tls, ClientFlags::decode(flags)?))
    }

    /// Goes on after TLS was started: nothing but the client's flags is kept.
    pub(crate) fn resume(stream: S, exports: &'a Exports, tls: Tls, client: ClientFlags) -> Self {
        Self { stream, exports, tls, client, style: Style::Simple, allocation_of: None }
    }

    pub(crate) fn client(&self) -> ClientFlags {
        self.client
    }

    /// Answers options until one needs the caller.
    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        loop {
            let header = self.header()?;
            let Some(data) = self.data(header)? else {
                if header.is_export_name() {
                    return Ok(Step::End);
                }
                let message = format!("option of {} bytes, {OPTION_MAX} are allowed", header.length);
                self.refuse_option(header.number, Refusal::TooBig, message)?;
                continue;
            };
            match Haggle::decode(header.number, &data) {
                Ok(option) => {
                    if let Some(step) = self.answer(header.number, option)? {
                        return Ok(step);
                    }
                }
                Err(fault) if header.is_export_name() => return Err(fault.into()),
                Err(fault) => self.refuse_malformed(header.number, fault)?,
            }
        }
    }

    fn header(&mut self) -> Result<OptionHeader, Error> {
        let mut bytes = [0; OptionHeader::LEN];
        self.stream.read_exact(&mut bytes)?;
        Ok(OptionHeader::decode(&bytes)?)
    }

    /// The option's data; none if there were too many to keep, which are skipped.
    fn data(&mut self, header: OptionHeader) -> Result<Option<Vec<u8>>, Error> {
        let mut part = (&mut self.stream).take(header.length.into());
        if header.length > OPTION_MAX {
            io::copy(&mut part, &mut io::sink())?;
            return Ok(None);
        }
        let mut data = Vec::new();
        let length = part.read_to_end(&mut data)?;
        let is_whole = u32::try_from(length).is_ok_and(|length| length == header.length);
        if is_whole { Ok(Some(data)) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
    }

    fn answer(&mut self, number: u32, option: Haggle) -> Result<Option<Step>, Error> {
        if self.tls == Tls::Required {
            return self.answer_before_tls(number, option);
        }
        match option {
            // It has no answer that extended headers would fit.
            Haggle::ExportName(_) if self.style == Style::Extended => return Ok(Some(Step::End)),
            Haggle::ExportName(name) => {
                let wanted =
                    self.exports.find(&name).map(|export| Wanted { export, is_final: true, form: Form::Old });
                return Ok(Some(wanted.map_or(Step::End, Step::Wants)));
            }
            Haggle::Abort => {
                self.acknowledge(number)?;
                return Ok(Some(Step::End));
            }
            Haggle::Info(query) => return self.want(number, query, false),
            Haggle::Go(query) => return self.want(number, query, true),
            Haggle::List => self.list(number)?,
            Haggle::StartTls if self.tls == Tls::Active => {
                self.refuse_option(number, Refusal::Invalid, "TLS is already in use".into())?;
            }
            Haggle::StartTls => {
                self.refuse_option(number, Refusal::Policy, "TLS is not configured".into())?
            }
            Haggle::StructuredReply if self.style == Style::Extended => {
                let message = "extended headers are agreed on already";
                self.refuse_option(number, Refusal::ExtendedRequired, message.into())?;
            }
            Haggle::StructuredReply => self.agree_on(number, Style::Structured)?,
            Haggle::ExtendedHeaders => self.agree_on(number, Style::Extended)?,
            Haggle::ListMetaContext(query) => self.list_contexts(number, &query)?,
            Haggle::SetMetaContext(query) => self.set_contexts(number, &query)?,
            Haggle::Unknown(_) => {
                self.refuse_option(number, Refusal::Unsupported, "unknown option".into())?
            }
        }
        Ok(None)
    }

    fn answer_before_tls(&mut self, number: u32, option: Haggle) -> Result<Option<Step>, Error> {
        match option {
            Haggle::StartTls => {
                self.acknowledge(number)?;
                Ok(Some(Step::StartTls))
            }
            Haggle::Abort => {
                self.acknowledge(number)?;
                Ok(Some(Step::End))
            }
            Haggle::ExportName(_) => Ok(Some(Step::End)),
            _ => {
                self.refuse_option(number, Refusal::TlsRequired, "TLS must be started first".into())?;
                Ok(None)
            }
        }
    }

    fn want(&mut self, number: u32, query: ExportQuery, is_final: bool) -> Result<Option<Step>, Error> {
        match self.exports.find(&query.name) {
            Some(export) => {
                Ok(Some(Step::Wants(Wanted { export, is_final, form: Form::New { number, query } })))
            }
            None => {
                self.refuse_unknown(number, &query.name)?;
                Ok(None)
            }
        }
    }

    fn list(&mut self, number: u32) -> Result<(), Error> {
        for export in self.exports.all() {
            self.reply(number, &OptionReply::Server(export.volume.clone()))?;
        }
        self.acknowledge(number)
    }

    fn list_contexts(&mut self, number: u32, query: &ContextQuery) -> Result<(), Error> {
        if !self.style.has_chunks() {
            return self.refuse_without_structure(number);
        }
        if self.exports.find(&query.name).is_none() {
            return self.refuse_unknown(number, &query.name);
        }
        let matches = |text: &String| text == "base:" || text == ALLOCATION_CONTEXT;
        if query.queries.is_empty() || query.queries.iter().any(matches) {
            self.reply(number, &OptionReply::MetaContext { id: 0, name: ALLOCATION_CONTEXT })?;
        }
        self.acknowledge(number)
    }

    fn set_contexts(&mut self, number: u32, query: &ContextQuery) -> Result<(), Error> {
        self.allocation_of = None;
        if !self.style.has_chunks() {
            return self.refuse_without_structure(number);
        }
        let Some(export) = self.exports.find(&query.name) else {
            return self.refuse_unknown(number, &query.name);
        };
        if query.queries.iter().any(|text| text == ALLOCATION_CONTEXT) {
            self.allocation_of = Some(export);
            self.reply(number, &OptionReply::MetaContext { id: ALLOCATION_ID, name: ALLOCATION_CONTEXT })?;
        }
        self.acknowledge(number)
    }

    /// Grants what was asked for: with this, transmission begins if the client wanted that.
    pub(crate) fn grant(
        &mut self,
        wanted: &Wanted,
        shape: &Shape,
        payload_max: u32,
    ) -> Result<Agreed, Error> {
        let flags = self.transmission_flags(shape.is_read_only);
        match &wanted.form {
            Form::Old => self.stream.write_all(&export_name_reply(shape.size_bytes, flags, self.client))?,
            Form::New { number, query } => {
                let mut infos = vec![Info::Export { size_bytes: shape.size_bytes, flags }];
                if query.wants.contains(&ExportQuery::NAME) {
                    infos.push(Info::Name(wanted.export.volume.clone()));
                }
                if query.wants.contains(&ExportQuery::BLOCK_SIZE) {
                    infos.push(Info::BlockSize {
                        minimum: 1,
                        preferred: PREFERRED_BLOCK,
                        maximum: payload_max,
                    });
                }
                let mut bytes: Vec<u8> =
                    infos.into_iter().flat_map(|info| OptionReply::Info(info).encode(*number)).collect();
                bytes.extend(OptionReply::Ack.encode(*number));
                self.stream.write_all(&bytes)?;
            }
        }
        let allocation =
            self.allocation_of.as_ref().is_some_and(|export| Arc::ptr_eq(export, &wanted.export));
        Ok(Agreed { style: self.style, allocation })
    }

    /// Says why not; false if the client cannot be told and the connection must end.
    pub(crate) fn refuse(&mut self, wanted: &Wanted, failure: &Failure) -> Result<bool, Error> {
        let Form::New { number, .. } = wanted.form else { return Ok(false) };
        let refusal = match failure.kind {
            ErrorKind::NotFound => Refusal::UnknownExport,
            ErrorKind::Invalid => Refusal::Invalid,
            _ => Refusal::Policy,
        };
        self.refuse_option(number, refusal, failure.message.clone())?;
        Ok(true)
    }

    fn transmission_flags(&self, is_read_only: bool) -> TransmissionFlags {
        let mut flags = TransmissionFlags::HAS_FLAGS
            | TransmissionFlags::SEND_FLUSH
            | TransmissionFlags::SEND_FUA
            // Every connection to a volume ends at one vlmc port, so a flush covers what all of them wrote.
            | TransmissionFlags::CAN_MULTI_CONN;
        flags |= if is_read_only {
            TransmissionFlags::READ_ONLY
        } else {
            TransmissionFlags::SEND_TRIM
                | TransmissionFlags::SEND_WRITE_ZEROES
                | TransmissionFlags::SEND_FAST_ZERO
        };
        flags.set(TransmissionFlags::SEND_DF, self.style.has_chunks());
        flags
    }

    fn agree_on(&mut self, number: u32, style: Style) -> Result<(), Error> {
        self.style = style;
        self.acknowledge(number)
    }

    fn acknowledge(&mut self, number: u32) -> Result<(), Error> {
        self.reply(number, &OptionReply::Ack)
    }

    fn refuse_unknown(&mut self, number: u32, name: &str) -> Result<(), Error> {
        self.refuse_option(number, Refusal::UnknownExport, format!("no volume {name} is attached"))
    }

    fn refuse_without_structure(&mut self, number: u32) -> Result<(), Error> {
        self.refuse_option(number, Refusal::Invalid, "structured replies must be agreed on first".into())
    }

    fn refuse_malformed(&mut self, number: u32, fault: Malformed) -> Result<(), Error> {
        let refusal = if self.tls == Tls::Required { Refusal::TlsRequired } else { Refusal::Invalid };
        self.refuse_option(number, refusal, fault.to_string())
    }

    fn refuse_option(&mut self, number: u32, refusal: Refusal, message: String) -> Result<(), Error> {
        self.reply(number, &OptionReply::Refused(refusal, message))
    }

    fn reply(&mut self, number: u32, reply: &OptionReply) -> Result<(), Error> {
        Ok(self.stream.write_all(&reply.encode(number))?)
    }
}

#[cfg(test)]
mod tests;
