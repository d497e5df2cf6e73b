//! Sizes as people type and read them. MiB where no unit is given, as the original had it.

/// The units that may follow a number, with what one is in bytes.
const UNITS: [(&str, u64); 13] = [
    ("B", 1),
    ("K", 1 << 10),
    ("KiB", 1 << 10),
    ("M", 1 << 20),
    ("MiB", 1 << 20),
    ("G", 1 << 30),
    ("GiB", 1 << 30),
    ("T", 1 << 40),
    ("TiB", 1 << 40),
    ("P", 1 << 50),
    ("PiB", 1 << 50),
    ("E", 1 << 60),
    ("EiB", 1 << 60),
];

/// The most digits after a decimal point: more can't matter to a size in bytes.
const MAX_FRACTION_DIGITS: usize = 18;

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not a number followed by a unit.
    #[error("not a size: write a number and a unit, as in 10G, 1.5T or 512 (MiB)")]
    Shape,
    /// The number is fine, what follows it is not.
    #[error("unknown unit {0:?}: use B, K, M, G, T, P, E or KiB … EiB (powers of 1024); MiB where none")]
    Unit(String),
    /// More bytes than 64 bits can count.
    #[error("more than 16 EiB")]
    TooLarge,
    /// As in 0.3B.
    #[error("not a whole number of bytes")]
    Fraction,
}

/// The bytes in a text such as `10`, `10G`, `1.5 TiB` or `512B`.
///
/// # Errors
/// Says what is wrong with the text.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit_bytes = unit_bytes(unit.trim_start())?;
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return Err(SizeError::Shape),
        Some(parts) => parts,
        None => (number, ""),
    };
    if whole.is_empty() || fraction.len() > MAX_FRACTION_DIGITS || fraction.contains('.') {
        return Err(SizeError::Shape);
    }
    let whole: u64 = whole.parse().map_err(|_| SizeError::TooLarge)?;
    let whole_bytes = whole.checked_mul(unit_bytes).ok_or(SizeError::TooLarge)?;
    whole_bytes.checked_add(fraction_bytes(fraction, unit_bytes)?).ok_or(SizeError::TooLarge)
}

fn unit_bytes(unit: &str) -> Result<u64, SizeError> {
    if unit.is_empty() {
        return Ok(1 << 20);
    }
    let known = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    known.map(|(_, bytes)| *bytes).ok_or_else(|| SizeError::Unit(unit.to_owned()))
}

fn fraction_bytes(digits: &str, unit_bytes: u64) -> Result<u64, SizeError> {
    if digits.is_empty() {
        return Ok(0);
    }
    let numerator: u128 = digits.parse().map_err(|_| SizeError::Shape)?;
    let scale = 10_u128.pow(u32::try_from(digits.len()).map_err(|_| SizeError::Shape)?);
    let scaled = numerator * u128::from(unit_bytes);
    if !scaled.is_multiple_of(scale) {
        return Err(SizeError::Fraction);
    }
    u64::try_from(scaled / scale).map_err(|_| SizeError::TooLarge)
}

/// The size for a reader: exact where a unit divides it, else with one digit after the point.
pub fn human(bytes: u64) -> String {
    let Some((unit, unit_bytes)) = UNITS.iter().rev().find(|(name, size)| name.len() == 3 && bytes >= *size)
    else {
        return format!("{bytes} B");
    };
    let whole = bytes / unit_bytes;
    let tenths = (u128::from(bytes % unit_bytes) * 10) / u128::from(*unit_bytes);
    if tenths == 0 { format!("{whole} {unit}") } else { format!("{whole}.{tenths} {unit}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn a_number_alone_is_mebibytes() {
        assert_eq!(parse("10240"), Ok(10 << 30));
    }

    #[test]
    fn units_are_powers_of_1024_in_either_case() {
        for (text, bytes) in [
            ("1K", 1 << 10),
            ("1kib", 1 << 10),
            ("512B", 512),
            ("3 GiB", 3 << 30),
            ("1.5T", 3 << 39),
            ("1p", 1 << 50),
            ("15E", 15 << 60),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_said_to_be_none() {
        for (text, error) in [
            ("", SizeError::Shape),
            ("G", SizeError::Shape),
            ("-1", SizeError::Unit("-1".into())),
            (".5G", SizeError::Shape),
            ("5.G", SizeError::Shape),
            ("1.2.3G", SizeError::Shape),
            ("10MB", SizeError::Unit("MB".into())),
            ("1 0", SizeError::Unit("0".into())),
            ("16E", SizeError::TooLarge),
            ("99999999999999999999", SizeError::TooLarge),
            ("0.3B", SizeError::Fraction),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn people_read_the_largest_unit_that_fits() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (10 << 30, "10 GiB"), (3 << 39, "1.5 TiB"), (u64::MAX, "15.9 EiB")]
        {
            assert_eq!(human(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn bytes_survive_being_written_out(bytes: u64) {
            prop_assert_eq!(parse(&format!("{bytes}B")), Ok(bytes));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            drop(parse(&text));
        }

        #[test]
        fn digits_and_points_never_make_it_panic(text in "[0-9.]{0,45}[a-zA-Z ]{0,4}") {
            drop(parse(&text));
        }
    }
}
