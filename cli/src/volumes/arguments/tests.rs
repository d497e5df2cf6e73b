use clap::CommandFactory;

use super::*;
use crate::arguments::modernized;

fn parse(line: &str) -> Result<Command, clap::Error> {
    let words = line.split_whitespace().map(std::ffi::OsString::from);
    Vlmc::try_parse_from(modernized(words)).map(|typed| typed.command)
}

#[test]
fn the_definitions_hold_together() {
    Vlmc::command().debug_assert();
}

#[test]
fn the_seeds_commands_are_understood() {
    for line in [
        "vlmc map volume1",
        "vlmc unmap /dev/xsegbd1",
        "vlmc create volume1 --snap snap1 --size 10240",
        "vlmc create volume1 --snap snap1",
        "vlmc create volume1 --size 10240",
        "vlmc snapshot volume1 snap1",
        "vlmc remove volume1",
        "vlmc list",
        "vlmc info volume1",
        "vlmc open volume1",
        "vlmc close volume1",
        "vlmc lock volume1",
        "vlmc unlock volume1",
        "vlmc unlock -f volume1",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn the_spellings_of_later_releases_are_understood() {
    for line in [
        "vlmc -c /etc/archipelago/other.toml list",
        "vlmc create volume1 -s 10240",
        "vlmc create volume1 --snap snap1 --assume_v0 --v0_size 10",
        "vlmc create volume1 --snap snap1 -v0",
        "vlmc create -ca volume1 --snap 0123",
        "vlmc rm volume1 -p pool",
        "vlmc ls",
        "vlmc map volume1 -ro",
        "vlmc map volume1 --readonly",
        "vlmc showmapped",
        "vlmc rename volume1 volume2",
        "vlmc resize -s 20480 volume1",
        "vlmc hash snap1",
        "vlmc update volume1",
        "vlmc update image1 -v0 --v0_size 10G",
        "vlmc mapinfo volume1 -v",
        "vlmc compare snap1 snap2 --json",
        "vlmc import - volume1 --size 1G",
        "vlmc export snap1 -",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn a_size_is_mebibytes_and_minus_ro_is_read_only() {
    let Ok(Command::Create(create)) = parse("vlmc create volume1 --size 10240") else { panic!("no create") };
    assert_eq!(create.size, Some(10 << 30));
    let Ok(Command::Map(map)) = parse("vlmc map volume1 -ro") else { panic!("no map") };
    assert!(map.read_only && map.via == Via::Auto);
}

#[test]
fn misuse_is_exit_status_2() {
    for line in [
        "vlmc",
        "vlmc frobnicate",
        "vlmc info",
        "vlmc create volume1",
        "vlmc create volume1 --size 10X",
        "vlmc create volume1 --size 1G --block-size 4G",
        "vlmc create volume1 --size 1G -v0",
        "vlmc create volume1 --snap snap1 --v0_size 10",
        "vlmc map volume1 --via pigeon",
        "vlmc resize volume1",
    ] {
        assert!(parse(line).unwrap_err().use_stderr(), "{line}");
    }
    assert!(!parse("vlmc --help").unwrap_err().use_stderr());
}
