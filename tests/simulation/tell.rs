//! What happens, line by line, for whoever looks for the reason of a failure: with the environment variable `TELL`.

use std::{fmt::Arguments, sync::LazyLock};

use protocol::{Flags, Op};
use xseg::Held;

static IS_TELLING: LazyLock<bool> = LazyLock::new(|| std::env::var_os("TELL").is_some());

pub(crate) fn tell(what: Arguments<'_>) {
    if *IS_TELLING {
        println!("{what}");
    }
}

/// Tells of a request and what became of it.
pub(crate) fn tell_request(who: &str, request: &Held, outcome: &str) {
    if *IS_TELLING {
        let op = Op::from_number(request.op()).map_or("?", Op::name);
        let flags = Flags::from_bits_truncate(request.flags());
        println!(
            "{who}: {op} {} {}+{} {flags:?} number {} attempt {}: {outcome}",
            request.target().escape_ascii(),
            request.offset(),
            request.size(),
            request.fence(),
            request.attempts()
        );
    }
}
