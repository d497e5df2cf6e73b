//! Whole runs against a volume, a store and a role that are played by one peer in memory, with and without faults.

use std::{collections::BTreeMap, thread, time::Duration};

use client::Stack;
use peer::{Common, Effects, Event, Peer, Stop};
use protocol::{ErrorKind, Failure, Message, Op, VolumeInfo, VolumeKind};
use xseg::{Geometry, Held, PortNumber, Reserve, Segment};

use crate::{Faults, Job, Pattern, Report, Target, run};

const PORT: u32 = 1;
const VOLUME_BYTES: usize = 1 << 20;

/// What the played peer does to writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The nth write is answered and not done.
    Lose(u64),
    /// The nth write goes 4096 bytes further.
    Misplace(u64),
    /// Half of the nth write is done.
    Tear(u64),
    /// All fail.
    Fail,
    /// Those that hold a zero fail.
    RefuseZeros,
}

struct Played {
    effects: Effects,
    objects: BTreeMap<Vec<u8>, Vec<u8>>,
    fault: Fault,
    writes: u64,
}

impl Peer for Played {
    fn handle(&mut self, event: Event) {
        if let Event::Accepted(mut request) = event {
            let result = self.serve(&mut request);
            self.effects.respond(request, result.as_ref().copied());
        }
    }
}

impl Played {
    fn serve(&mut self, request: &mut Held) -> Result<(), Failure> {
        let name = request.target().as_ref().to_vec();
        let bytes = self.objects.entry(name).or_insert_with(|| vec![0; VOLUME_BYTES]);
        let mut at = usize::try_from(request.offset()).unwrap();
        let mut size = usize::try_from(request.size()).unwrap();
        match Op::from_number(request.op()) {
            Some(Op::Info) => request.set_argument(&info().encode()).unwrap(),
            Some(Op::Read) => request.write(0, &bytes[at..at + size]).unwrap(),
            Some(Op::Write) => {
                self.writes += 1;
                match self.fault {
                    Fault::Fail => return Err(Failure::new(ErrorKind::NoSpace, "the disk is full")),
                    Fault::Lose(number) if number == self.writes => return Ok(()),
                    Fault::Misplace(number) if number == self.writes => at += 4096,
                    Fault::Tear(number) if number == self.writes => size = size / 2 + 100,
                    _ => {}
                }
                request.read(0, &mut bytes[at..at + size]).unwrap();
                if self.fault == Fault::RefuseZeros && bytes[at..at + size].contains(&0) {
                    return Err(Failure::new(ErrorKind::Invalid, "a zero"));
                }
            }
            other => return Err(Failure::new(ErrorKind::Unsupported, format!("{other:?}"))),
        }
        Ok(())
    }
}

fn info() -> VolumeInfo {
    VolumeInfo {
        name: "volume1".into(),
        kind: VolumeKind::Volume,
        size_bytes: u64::try_from(VOLUME_BYTES).unwrap(),
        block_size: 4 << 20,
        generation: 1,
        map_version: 3,
        parent: None,
        created_unix_ms: 0,
        lock: None,
        id: 1,
    }
}

fn report_of(job: &Job, fault: Fault) -> Result<Report, Failure> {
    let segment = Segment::private(Geometry::new(16, 8, 512, 16 << 20).unwrap()).unwrap();
    let common = Common {
        role: "played".into(),
        ports: PORT..=PORT,
        nr_ops: 64,
        node: "node".into(),
        run_dir: "/".into(),
    };
    let stop = Stop::new();
    let stack = Stack {
        segment: segment.clone(),
        vlmc: PORT..=PORT,
        mapper: PORT,
        blocker_maps: PORT,
        blocker_blocks: PORT,
        endpoints: Vec::new(),
        node: "node".into(),
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let reserve = Reserve { requests: 0, bytes: 0 };
            peer::run(&segment, &common, PortNumber(PORT), reserve, &stop, |effects| Played {
                effects,
                objects: BTreeMap::new(),
                fault,
                writes: 0,
            })
            .unwrap();
        });
        let report = run(&stack, job);
        stop.set();
        report
    })
}

fn verified() -> Job {
    Job { write_percent: 100, depth: 8, is_verified: true, ..Job::on_volume("volume1") }
}

fn faults(job: &Job, fault: Fault) -> Faults {
    report_of(job, fault).unwrap().faults.unwrap()
}

#[test]
fn a_pass_touches_each_block_once_and_finds_it_right() {
    for pattern in [Pattern::Sequential, Pattern::Random] {
        let report = report_of(&Job { pattern, ..verified() }, Fault::None).unwrap();
        assert_eq!(report.operations["write"].count, 256);
        assert_eq!(report.operations["write"].bytes, 1 << 20);
        assert_eq!(report.faults.as_ref().unwrap().checked_blocks, 256);
        assert!(report.is_good(), "{report:?}");
    }
}

#[test]
fn what_nobody_compares_is_data_and_no_zeros() {
    let job = Job { depth: 8, write_percent: 100, ..Job::on_volume("volume1") };
    assert_eq!(report_of(&job, Fault::RefuseZeros).unwrap().failed, 0);
}

#[test]
fn a_mix_has_about_the_writes_that_were_asked_for() {
    let job = Job { write_percent: 30, amount_bytes: Some(8 << 20), ..verified() };
    let report = report_of(&job, Fault::None).unwrap();
    let writes = report.operations["write"].count;
    assert!((500..730).contains(&writes), "{writes} of 2048");
    assert_eq!(writes + report.operations["read"].count, 2048);
    assert!(report.is_good());
}

#[test]
fn every_kind_of_wrong_content_is_found() {
    let lost = faults(&verified(), Fault::Lose(7));
    assert_eq!((lost.lost, lost.stale + lost.misplaced + lost.torn), (1, 0));
    let twice = Job { amount_bytes: Some(2 << 20), ..verified() };
    let stale = faults(&twice, Fault::Lose(400));
    assert_eq!((stale.stale, stale.lost), (1, 0));
    let sequential = Job { pattern: Pattern::Sequential, depth: 1, ..twice };
    let misplaced = faults(&sequential, Fault::Misplace(512 - 3));
    assert_eq!((misplaced.stale, misplaced.misplaced), (1, 0), "the next write repaired its neighbour");
    let torn = faults(&twice_of(4096), Fault::Tear(300));
    assert_eq!(torn.torn + torn.stale, 1);
    assert!(torn.first.is_some());
}

fn twice_of(io_bytes: u64) -> Job {
    Job { amount_bytes: Some(2 << 20), io_bytes, ..verified() }
}

#[test]
fn failures_are_counted_told_and_end_the_run() {
    let report = report_of(&verified(), Fault::Fail).unwrap();
    assert!((100..120).contains(&report.failed), "{}", report.failed);
    assert_eq!(report.first_failure.as_deref(), Some("the disk is full"));
    assert!(!report.is_good());
    assert_eq!(report.faults.unwrap().checked_blocks, 0);
}

#[test]
fn objects_and_pings_need_no_volume() {
    let target = Target::Objects { port: PORT, prefix: "bench".into(), object_bytes: 64 << 10 };
    let job = Job { span_bytes: Some(256 << 10), target, ..verified() };
    let report = report_of(&job, Fault::None).unwrap();
    assert_eq!(report.faults.as_ref().unwrap().checked_blocks, 64);
    assert!(report.is_good());
    let job = Job { amount_bytes: Some(100 * 4096), ..Job::on(Target::Ping { port: PORT }) };
    assert_eq!(report_of(&job, Fault::None).unwrap().operations["ping"].count, 100);
}

#[test]
fn a_rate_and_a_duration_bound_a_run() {
    let job = Job {
        duration: Some(Duration::from_millis(50)),
        rate_per_second: Some(1000),
        ..Job::on_volume("volume1")
    };
    let report = report_of(&job, Fault::None).unwrap();
    let count = report.operations["read"].count;
    assert!((1..=51).contains(&count), "{count}");
}

#[test]
fn a_report_is_json_with_percentiles() {
    let report = report_of(&Job::on_volume("volume1"), Fault::None).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["job"]["target"]["name"], "volume1");
    assert!(json["operations"]["read"]["latency"]["p99_us"].is_number());
    assert!(json["faults"].is_null());
}
