//! The parts of a map that a first touch of a block, an open, and a checkpoint pay for: `cargo bench -p volume`.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on panics")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use volume::{BlockIndex, BootId, Map, NewVolume, Purpose, RequestId, Root, VolumeId, split};

const TIB: u64 = 1 << 40;
const BLOCK_BYTES: u32 = 4 << 20;
/// Blocks of a leaf.
const LEAF: u64 = 512;

fn root() -> Root {
    let new = NewVolume {
        id: VolumeId(7),
        size: TIB,
        created_by: RequestId::default(),
        created_unix_ms: 0,
        replaces: None,
    };
    Root::blank(new, BLOCK_BYTES).unwrap()
}

/// A map that may be changed.
fn changing() -> Map {
    let mut map = Map::open(root());
    map.begin(BootId([1; 16]), RequestId::default()).unwrap();
    map.done();
    map
}

fn allocate(map: &mut Map, index: u64) {
    let allocation = map.allocate(BlockIndex(index)).unwrap();
    map.set(&allocation).unwrap();
}

fn with_a_leaf() -> Map {
    let mut map = changing();
    (0..LEAF).for_each(|index| allocate(&mut map, index));
    black_box(map.take_log());
    map
}

fn maps(criterion: &mut Criterion) {
    criterion.bench_function("first touch of 512 blocks, logged one by one", |bencher| {
        let touch = |mut map: Map| {
            for index in 0..LEAF {
                allocate(&mut map, index);
                black_box(map.take_log());
            }
            map
        };
        bencher.iter_batched(changing, touch, BatchSize::SmallInput);
    });
    let map = with_a_leaf();
    criterion.bench_function("entries of 512 blocks", |bencher| {
        bencher.iter(|| map.entries(BlockIndex(0)..BlockIndex(LEAF)).filter(Result::is_ok).count());
    });
    criterion.bench_function("checkpoint of 512 new blocks", |bencher| {
        let checkpoint = |mut map: Map| map.checkpoint(Purpose::Continue, RequestId::default()).unwrap();
        bencher.iter_batched(with_a_leaf, checkpoint, BatchSize::SmallInput);
    });
}

fn bytes(criterion: &mut Criterion) {
    let encoded = root().encode();
    criterion.bench_function("root from its bytes", |bencher| {
        bencher.iter(|| Root::decode(black_box(&encoded)).unwrap());
    });
    criterion.bench_function("1 MiB split at blocks", |bencher| {
        bencher.iter(|| split(black_box(3 << 20 | 4096), 1 << 20, BLOCK_BYTES).count());
    });
}

criterion_group!(benches, maps, bytes);
criterion_main!(benches);
