//! Claims on names and lists.

use std::collections::BTreeSet;

use super::{Bench, Outcome, fails};
use crate::{ErrorKind, ObjectName, Page};

/// Names that a store might take for something else.
fn strange_labels() -> Vec<Vec<u8>> {
    let mut labels: Vec<Vec<u8>> =
        [".", "..", "/", "a/b", "a//b", "../../../../outside", "%", "%41", "A", "a b", "a\nb", "\\", "~"]
            .iter()
            .map(|label| label.as_bytes().to_vec())
            .collect();
    labels.extend([vec![0], vec![0xff], vec![0xc3, 0x28], vec![b'.'; 200], vec![b'/'; 200], vec![b'x'; 200]]);
    labels
}

pub(super) fn any_name_is_an_object_of_its_own(bench: &Bench<'_>) -> Outcome {
    let mut names: Vec<ObjectName> = strange_labels().iter().map(|label| bench.name_of(label)).collect();
    // Without the claim's name in front, as names that begin with it hide what only a beginning can do.
    let bare: [&[u8]; 8] =
        [b"a", b"5b", b".", b"..", b"%temp", b"../claim", b"%lclaim", &[b'z'; ObjectName::MAX_LEN]];
    names.extend(bare.map(|name| ObjectName::new(name).expect("short enough")));
    for name in &names {
        bench.store.write(name, 0, name.as_bytes())?;
    }
    for name in &names {
        assert_eq!(bench.store.read(name, 0, name.as_bytes().len())?, name.as_bytes(), "{name}");
        assert_eq!(bench.store.size(name)?, name.as_bytes().len() as u64, "{name}");
    }
    let listed = list_all(bench, b"", 1 << 20)?;
    for name in &names {
        assert!(listed.contains(name.as_bytes()), "{name} is not listed");
        bench.store.delete(name)?;
        fails(bench.store.size(name), ErrorKind::NotFound);
    }
    Ok(())
}

fn list_all(
    bench: &Bench<'_>,
    prefix: &[u8],
    page_bytes: usize,
) -> Result<BTreeSet<Vec<u8>>, crate::StoreError> {
    let (mut all, mut after) = (BTreeSet::new(), Vec::new());
    loop {
        let page = bench.store.list(&bench.name("list"), prefix, &after, page_bytes)?;
        let cost: usize = page.names.iter().map(|name| name.len() + Page::NAME_COST).sum();
        assert!(cost <= page_bytes && page.names.is_sorted());
        assert!(page.names.first().is_none_or(|first| *first > after));
        all.extend(page.names.iter().cloned());
        match page.names.last() {
            Some(last) if page.more => after.clone_from(last),
            _ => return Ok(all),
        }
    }
}

pub(super) fn listing_pages_names_in_order(bench: &Bench<'_>) -> Outcome {
    let names: BTreeSet<Vec<u8>> =
        (0..40).map(|number| bench.name(&format!("{number}")).as_bytes().to_vec()).collect();
    for name in &names {
        bench.store.write(&ObjectName::new(name).expect("short enough"), 0, b"x")?;
    }
    let prefix = bench.name("");
    for page_bytes in [100, 333, 1 << 20] {
        assert_eq!(list_all(bench, prefix.as_bytes(), page_bytes)?, names);
    }
    Ok(())
}

pub(super) fn a_listing_has_only_its_prefix(bench: &Bench<'_>) -> Outcome {
    for label in ["a", "ab", "abc", "b"] {
        bench.store.write(&bench.name(label), 0, b"x")?;
    }
    let page = bench.store.list(&bench.name("list"), bench.name("ab").as_bytes(), b"", 1 << 16)?;
    let expected = ["ab", "abc"].map(|label| bench.name(label).as_bytes().to_vec());
    assert_eq!((page.names, page.more), (expected.to_vec(), false));
    let none = bench.store.list(&bench.name("list"), bench.name("zzz").as_bytes(), b"", 1 << 16)?;
    assert_eq!(none, Page::default());
    Ok(())
}

pub(super) fn deleted_names_are_not_listed(bench: &Bench<'_>) -> Outcome {
    let (kept, deleted) = (bench.name("kept"), bench.name("deleted"));
    for name in [&kept, &deleted] {
        bench.store.write(name, 0, b"x")?;
    }
    bench.store.delete(&deleted)?;
    bench.store.acquire(&bench.name("lock"), "somebody", false, false)?;
    let page = bench.store.list(&kept, bench.name("").as_bytes(), b"", 1 << 16)?;
    assert_eq!(page.names, [kept.as_bytes()]);
    Ok(())
}
