//! Collections over what the original left.

use super::{
    collecting::collect,
    legacy::{OWNED, WRITABLE, ZERO, put_v2},
    rig::{BLOCK, Caller, Rig},
};

const FLAG_DELETED: u32 = 2;

/// The block of `volume` that was made in an epoch; `put_v2` writes epoch 3.
fn block(volume: &str, epoch: u64, index: u64) -> String {
    format!("{volume}_{epoch:016x}_{index:016x}")
}

fn put_blocks(rig: &Rig, names: &[String]) {
    for name in names {
        rig.world.put_block(name, &[7; BLOCK as usize]);
        rig.world.sync_block(name);
    }
}

fn hashed(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// A version 1 map of one private block and one that is shared.
fn put_v1(rig: &Rig, name: &str, private: u8, shared: u8) {
    let mut map = 1_u32.to_le_bytes().to_vec();
    map.extend((8_u64 << 20).to_le_bytes());
    map.push(1);
    map.extend([private; 32]);
    map.push(0);
    map.extend([shared; 32]);
    rig.world.put_map(name, &map);
}

fn sweep(caller: &mut Caller, rig: &Rig) -> Vec<String> {
    collect(caller, false);
    rig.world.block_names()
}

#[test]
fn what_tables_and_trees_refer_to_stays_and_the_rest_of_known_volumes_goes() {
    let rig = Rig::new();
    let mut caller = rig.client();
    let used =
        [block("legacy1", 1, 0), block("legacy1", 2, 1), block("gone-1", 1, 2), block("former1", 1, 3)];
    let table = [(OWNED, used[0].as_str()), (OWNED, &used[1]), (OWNED, &used[2]), (OWNED, &used[3])];
    put_v2(&rig, "legacy1", 0, &table);
    put_v2(&rig, "gone-1", FLAG_DELETED, &[(ZERO, volume::ZERO_BLOCK)]);
    put_v2(
        &rig,
        "archip_former1",
        0,
        &[(WRITABLE | OWNED, "archip_former1_0000000000000002_0000000000000000")],
    );
    put_v1(&rig, "archip_oldest", 0xaa, 0xbb);
    let kept = [
        block("archip_former1", 2, 0),
        format!("archip_{}", hashed('a')),
        hashed('b'),
        // About to be used by the original, which may run beside.
        block("legacy1", 3, 9),
        // Nobody knows whose.
        block("stranger", 1, 0),
        hashed('c'),
        "a-photo".to_owned(),
    ];
    let garbage = [
        block("legacy1", 2, 9),
        block("gone-1", 3, 0),
        block("former1", 1, 9),
        block("archip_former1", 1, 0),
        block("archip_legacy1", 1, 0),
        format!("archip_{}", hashed('d')),
    ];
    put_blocks(&rig, &[&used[..], &kept, &garbage].concat());
    let before = rig.world.block_names().len();
    assert_eq!(collect(&mut caller, true), 1 + u64::try_from(garbage.len()).unwrap());
    assert_eq!(rig.world.block_names().len(), before);
    let mut expected = [&used[..], &kept].concat();
    expected.sort();
    assert_eq!(sweep(&mut caller, &rig), expected);

    // The same when the maps are ours.
    caller.client.update("legacy1", None).unwrap();
    caller.client.update("former1", None).unwrap();
    caller.client.snapshot("legacy1", "snapshot").unwrap();
    caller.client.remove("legacy1").unwrap();
    caller.client.update("oldest", None).unwrap();
    expected.retain(|name| *name != kept[3]);
    assert_eq!(sweep(&mut caller, &rig), expected);
    assert_eq!(caller.read_all("snapshot", 4).unwrap(), [7; 4]);
    caller.client.remove("snapshot").unwrap();
    caller.client.remove("oldest").unwrap();
    expected.retain(|name| !used.contains(name) && *name != kept[1]);
    assert_eq!(sweep(&mut caller, &rig), expected);
}

#[test]
fn a_map_that_cannot_be_read_spares_all_of_them() {
    let damages: [(&str, Vec<u8>); 3] = [
        // Of version 0, or nobody knows what.
        ("image-1", vec![0x5a; 2048]),
        // A map under a name that tables have.
        ("odd-name_0000000000000001", b"AMF.\0\0\0\x02 and so on".to_vec()),
        // A table that was scribbled on.
        ("legacy1_0000000000000000", vec![0xff; 128]),
    ];
    for (name, bytes) in damages {
        let rig = Rig::new();
        let mut caller = rig.client();
        put_v2(&rig, "legacy1", 0, &[(OWNED, &block("legacy1", 1, 0))]);
        put_blocks(&rig, &[block("legacy1", 1, 0), block("legacy1", 1, 1)]);
        rig.world.put_map(name, &bytes);
        assert_eq!(sweep(&mut caller, &rig).len(), 2, "{name}");
        let mut point = Vec::new();
        let spared = loop {
            let step = caller.client.collect(&point, false).unwrap();
            match step.resume {
                Some(next) => point = next,
                None => break step.spared,
            }
        };
        assert!(spared.is_some(), "{name}");
    }
}

#[test]
fn a_map_that_is_named_as_a_block_of_version_1_is_no_block() {
    let rig = Rig::new();
    let mut caller = rig.client();
    put_v2(&rig, "legacy1", 0, &[(ZERO, volume::ZERO_BLOCK)]);
    let name = format!("archip_{}", hashed('d'));
    put_v2(&rig, &name, FLAG_DELETED, &[(ZERO, volume::ZERO_BLOCK)]);
    put_blocks(&rig, std::slice::from_ref(&name));
    assert_eq!(sweep(&mut caller, &rig), [name]);
}

#[test]
fn volumes_are_upgraded_and_removed_while_their_blocks_are_collected() {
    for pause in 0..40 {
        let rig = Rig::new();
        let mut caller = rig.client();
        let used: Vec<String> = (0..20).map(|index| block("legacy1", 1, index)).collect();
        let table: Vec<(u8, &str)> = used.iter().map(|name| (OWNED, name.as_str())).collect();
        put_v2(&rig, "legacy1", 0, &table);
        put_v2(&rig, "legacysnap", 1, &table);
        put_v1(&rig, "oldest1", 0xaa, 0xbb);
        let private = format!("archip_{}", hashed('a'));
        put_blocks(&rig, &used);
        put_blocks(&rig, &[private.clone(), hashed('b'), block("legacy1", 1, 100)]);
        let mut resume = Vec::new();
        for step in 0.. {
            if step == pause {
                caller.client.update("oldest1", None).unwrap();
                caller.client.create("cloned", None, Some("legacysnap"), None).unwrap();
                caller.client.remove("legacysnap").unwrap();
                caller.client.rename("legacy1", "renamed").unwrap();
                caller.client.remove("renamed").unwrap();
            }
            match caller.client.collect(&resume, false).unwrap().resume {
                Some(next) => resume = next,
                None => break,
            }
        }
        if pause < 5 {
            assert_eq!(caller.read_all("cloned", 20).unwrap(), [7; 20]);
        }
        for name in used.iter().chain([&private]) {
            assert!(rig.world.block(name).is_some(), "{name} is gone after {pause} steps");
        }
    }
}
