//! Haggling over streams in memory.

use super::*;

/// What a client says, and what it was told.
struct Script {
    said: io::Cursor<Vec<u8>>,
    told: Vec<u8>,
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.said.read(buffer)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.told.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn option(number: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    [&b"IHAVEOPT"[..], &number.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

fn go(number: u32, name: &str, wants: &[u16]) -> Vec<u8> {
    let mut data = named(name);
    data.extend(u16::try_from(wants.len()).unwrap().to_be_bytes());
    wants.iter().for_each(|want| data.extend(want.to_be_bytes()));
    option(number, &data)
}

fn contexts(number: u32, name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = named(name);
    data.extend(u32::try_from(queries.len()).unwrap().to_be_bytes());
    queries.iter().for_each(|query| data.extend(named(query)));
    option(number, &data)
}

fn named(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

/// Types and data of replies to options.
type Replies = Vec<(u32, Vec<u8>)>;

fn replies(mut told: &[u8]) -> Replies {
    let mut replies = Vec::new();
    while !told.is_empty() {
        assert_eq!(told[..8], 0x3e889045565a9_u64.to_be_bytes());
        let field = |at: usize| u32::from_be_bytes(told[at..at + 4].try_into().unwrap());
        let length = usize::try_from(field(16)).unwrap();
        replies.push((field(12), told[20..20 + length].to_vec()));
        told = &told[20 + length..];
    }
    replies
}

const ACK: u32 = 1;
const INVALID: u32 = (1 << 31) + 3;

fn exports(names: &[&str]) -> Exports {
    let exports = Exports::default();
    names.iter().for_each(|name| assert!(exports.attach(name, false)));
    exports
}

fn shape() -> Shape {
    Shape { size_bytes: 1 << 30, block_size: 4 << 20, is_read_only: false }
}

/// Lets a client say all this; what it was told after the greeting, and where haggling stopped.
fn haggle(exports: &Exports, tls: Tls, said: &[Vec<u8>]) -> (Replies, Result<Step, Error>) {
    let mut script =
        Script { said: io::Cursor::new([&[0, 0, 0, 3][..], &said.concat()].concat()), told: Vec::new() };
    let mut negotiation = Negotiation::greet(&mut script, exports, tls).unwrap();
    let step = negotiation.step();
    (replies(&script.told[Greeting::LEN..]), step)
}

#[test]
fn go_is_granted_with_size_flags_and_block_sizes() {
    let exports = exports(&["disk"]);
    let said =
        [vec![0, 0, 0, 3], option(8, b""), contexts(10, "disk", &["base:allocation"]), go(7, "", &[3, 1])];
    let mut script = Script { said: io::Cursor::new(said.concat()), told: Vec::new() };
    let mut negotiation = Negotiation::greet(&mut script, &exports, Tls::Off).unwrap();
    let Step::Wants(wanted) = negotiation.step().unwrap() else { panic!("no export is wanted") };
    assert!(wanted.is_final);
    let agreed = negotiation.grant(&wanted, &shape(), 32 << 20).unwrap();
    assert_eq!(agreed, Agreed { style: Style::Structured, allocation: true });
    let told = replies(&script.told[Greeting::LEN..]);
    assert_eq!(told.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [ACK, 4, ACK, 3, 3, 3, ACK]);
    assert_eq!(told[3].1[..10], [0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0]);
    assert_eq!(&told[4].1[2..], b"disk");
    assert_eq!(told[5].1[2..], [0, 0, 0, 1, 0, 0, 16, 0, 2, 0, 0, 0]);
}

#[test]
fn extended_headers_take_precedence_over_structured_replies() {
    let exports = exports(&["disk"]);
    let said = [vec![0, 0, 0, 3], option(8, b""), option(11, b""), option(8, b""), go(7, "disk", &[])];
    let mut script = Script { said: io::Cursor::new(said.concat()), told: Vec::new() };
    let mut negotiation = Negotiation::greet(&mut script, &exports, Tls::Off).unwrap();
    let Step::Wants(wanted) = negotiation.step().unwrap() else { panic!("no export is wanted") };
    assert_eq!(negotiation.grant(&wanted, &shape(), 32 << 20).unwrap().style, Style::Extended);
    let told = replies(&script.told[Greeting::LEN..]);
    assert_eq!(told[..3].iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [ACK, ACK, (1 << 31) + 10]);
}

#[test]
fn contexts_selected_for_another_export_do_not_count() {
    let exports = exports(&["a", "b"]);
    let said = [vec![0, 0, 0, 3], option(8, b""), contexts(10, "a", &["base:allocation"]), go(7, "b", &[])];
    let mut script = Script { said: io::Cursor::new(said.concat()), told: Vec::new() };
    let mut negotiation = Negotiation::greet(&mut script, &exports, Tls::Off).unwrap();
    let Step::Wants(wanted) = negotiation.step().unwrap() else { panic!("no export is wanted") };
    assert!(!negotiation.grant(&wanted, &shape(), 32 << 20).unwrap().allocation);
}

#[test]
fn contexts_need_structured_replies() {
    let (told, _) =
        haggle(&exports(&["a"]), Tls::Off, &[contexts(10, "a", &["base:allocation"]), option(2, b"")]);
    assert_eq!((told[0].0, told[1].0), (INVALID, ACK));
}

#[test]
fn base_is_a_wildcard_for_listing_but_selects_nothing() {
    let said = [option(8, b""), contexts(9, "a", &["base:"]), contexts(10, "a", &["base:"]), option(2, b"")];
    let (told, _) = haggle(&exports(&["a"]), Tls::Off, &said);
    assert_eq!(told.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [ACK, 4, ACK, ACK, ACK]);
}

#[test]
fn list_names_every_export() {
    let (told, _) = haggle(&exports(&["a", "b"]), Tls::Off, &[option(3, b""), option(2, b"")]);
    assert_eq!(told[0].1, named("a"));
    assert_eq!(told[1].1, named("b"));
    assert_eq!(told[2].0, ACK);
}

#[test]
fn unknown_options_and_exports_are_refused_and_haggling_goes_on() {
    let said = [option(99, b"what"), go(6, "nothing", &[]), option(2, b"")];
    let (told, step) = haggle(&exports(&["a"]), Tls::Off, &said);
    assert_eq!((told[0].0, told[1].0, told[2].0), ((1 << 31) + 1, (1 << 31) + 6, ACK));
    assert!(matches!(step, Ok(Step::End)));
}

#[test]
fn an_option_that_is_too_long_is_skipped_and_refused() {
    let long = vec![0; usize::try_from(OPTION_MAX).unwrap() + 1];
    let (told, _) = haggle(&exports(&["a"]), Tls::Off, &[option(7, &long), option(2, b"")]);
    assert_eq!((told[0].0, told[1].0), ((1 << 31) + 9, ACK));
}

#[test]
fn required_tls_lets_nothing_pass_but_its_start() {
    let said = [option(3, b""), go(7, "a", &[]), option(7, b"noise"), option(5, b"")];
    let (told, step) = haggle(&exports(&["a"]), Tls::Required, &said);
    let required = (1 << 31) + 5;
    assert_eq!(told.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [required, required, required, ACK]);
    assert!(matches!(step, Ok(Step::StartTls)));
    let (_, step) = haggle(&exports(&["a"]), Tls::Required, &[option(1, b"a")]);
    assert!(matches!(step, Ok(Step::End)));
}

#[test]
fn tls_is_started_once_and_only_where_configured() {
    let (told, _) = haggle(&exports(&["a"]), Tls::Active, &[option(5, b""), option(2, b"")]);
    assert_eq!(told[0].0, INVALID);
    let (told, _) = haggle(&exports(&["a"]), Tls::Off, &[option(5, b""), option(2, b"")]);
    assert_eq!(told[0].0, (1 << 31) + 2);
}

#[test]
fn old_style_choice_of_an_unknown_export_ends_the_connection() {
    let (told, step) = haggle(&exports(&["a"]), Tls::Off, &[option(1, b"nothing")]);
    assert!(told.is_empty() && matches!(step, Ok(Step::End)));
}

#[test]
fn unknown_client_flags_wrong_magic_and_half_options_are_errors() {
    let exports = exports(&["a"]);
    let mut script = Script { said: io::Cursor::new(vec![0, 0, 0, 9]), told: Vec::new() };
    assert!(matches!(Negotiation::greet(&mut script, &exports, Tls::Off), Err(Error::Protocol(_))));
    let (_, step) = haggle(&exports, Tls::Off, &[b"IHAVENOTHING IN COMMON".to_vec()]);
    assert!(matches!(step, Err(Error::Protocol(_))));
    let whole = go(7, "a", &[3]);
    for length in 0..whole.len() {
        let (_, step) = haggle(&exports, Tls::Off, &[whole[..length].to_vec()]);
        assert!(matches!(step, Err(Error::Connection(_))), "{length} bytes");
    }
}
