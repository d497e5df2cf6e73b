//! Making, opening and destroying segments, and binding ports on them.

use std::{
    fs::File,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd},
    sync::{Arc, Weak},
};

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags};
use zerocopy::{FromZeros, IntoBytes};

use crate::{
    abi::{FEATURES, HEADER_BYTES, Header, MAGIC, Slot, VERSION},
    error::{Error, ErrorKind, Result, Subject},
    geometry::{Geometry, Plan, to_usize},
    held::as_u64,
    inspect::{self, Finding, PortInfo, RequestInfo},
    memory::Mapping,
    port::{self, Port, PortNumber, Reserve},
    process::{Census, pid_namespace},
    reap::{Reaped, empty, reap},
    recovery,
    shared::Shared,
    stand_in::{StandIn, StandIns},
    sync::Ordering,
    trace::{self, Event},
};

/// Where segments are files.
const DIRECTORY: &str = "/dev/shm";
/// Longest name.
const MAX_NAME: usize = 200;

/// A mapped segment. Cheap to clone; the mapping lasts as long as anything that came from it.
#[derive(Clone, Debug)]
pub struct Segment {
    pub(crate) shared: Arc<Shared>,
}

impl Segment {
    /// Creates a segment: the file `/dev/shm/NAME`, for owner and group. `name` is `posix:NAME` or `NAME`.
    ///
    /// # Errors
    /// `Exists` if there is one of that name, `NoSpace` if its tables do not fit, `Invalid` for a bad name.
    pub fn create(name: &str, geometry: Geometry) -> Result<Segment> {
        let plain = plain_name(name)?;
        let plan = Plan::new(&geometry);
        let failed = |error: io::Error| Error::system("create", name, error);
        // Without a name until it is complete: nobody can open half of it, and nothing is left if we die.
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o660);
        let file: File = rustix::fs::open(DIRECTORY, flags, mode).map_err(|e| failed(e.into()))?.into();
        rustix::fs::fchmod(&file, mode).map_err(|e| failed(e.into()))?;
        file.set_len(as_u64(plan.total_bytes)).map_err(failed)?;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, as_u64(plan.arena))
            .map_err(|e| failed(e.into()))?;
        let map = Mapping::of_file(file.as_fd(), plan.total_bytes).map_err(failed)?;
        let shared = Shared::fresh(map, geometry, plan, plain, true);
        let from = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, from, CWD, path(plain), AtFlags::SYMLINK_FOLLOW)
            .map_err(|e| failed(e.into()))?;
        Ok(Segment { shared: Arc::new(shared) })
    }

    /// Opens a segment that exists.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if its header or length is not what its geometry demands; `Unsupported` for another
    /// version, unknown features, or a segment of another pid namespace.
    pub fn open(name: &str) -> Result<Segment> {
        let plain = plain_name(name)?;
        let failed = |error: io::Error| Error::system("open", name, error);
        let file = File::options().read(true).write(true).open(path(plain)).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        if len < HEADER_BYTES {
            return Err(Error::segment(ErrorKind::Corrupt, "open", name));
        }
        let map = Mapping::of_file(file.as_fd(), to_usize(len)).map_err(failed)?;
        let mut header = Header::new_zeroed();
        map.copy_out(0, header.as_mut_bytes());
        let (geometry, plan) = check(&header, len).map_err(|kind| Error::segment(kind, "open", name))?;
        let shared = Shared {
            map,
            geometry,
            plan,
            segment_id: header.segment_id,
            name: plain.into(),
            is_file: true,
            stand_ins: StandIns::default(),
        };
        Ok(Segment { shared: Arc::new(shared) })
    }

    /// A segment that only this process and its children have, for tests and simulation.
    ///
    /// # Errors
    /// `NoSpace` if the memory cannot be mapped.
    pub fn private(geometry: Geometry) -> Result<Segment> {
        let plan = Plan::new(&geometry);
        let map = Mapping::anonymous(plan.total_bytes)
            .map_err(|error| Error::system("create", "private", error))?;
        Ok(Segment { shared: Arc::new(Shared::fresh(map, geometry, plan, "private", false)) })
    }

    /// Takes the name away. Processes that have the segment open keep it until they end.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for a bad name.
    pub fn destroy(name: &str) -> Result<()> {
        let plain = plain_name(name)?;
        std::fs::remove_file(path(plain)).map_err(|error| Error::system("destroy", name, error))
    }

    /// From now on, who sends to this port from this process while its owner's thread sleeps serves it at once, as long as
    /// the stand-in lives.
    pub fn set_stand_in(&self, port: PortNumber, stand_in: Weak<dyn StandIn>) {
        self.shared.stand_ins.set(port, stand_in);
    }

    /// The sizes of the segment.
    pub fn geometry(&self) -> Geometry {
        self.shared.geometry
    }

    /// The random number that tells this segment from all others.
    pub fn id(&self) -> u64 {
        self.shared.segment_id
    }

    /// The name it was opened under, without `posix:`.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Becomes the owner of a static port. If an earlier owner died or left, what waited for it, and what it had
    /// accepted, is received here.
    ///
    /// # Errors
    /// `Busy` if its owner is alive ([`Error::owner_pid`]); `NotFound` if there is no such static port; `NoSpace` if the
    /// reserve cannot be had.
    pub fn bind(&self, port: PortNumber, reserve: Reserve) -> Result<Port> {
        if !self.shared.is_static(port.0) {
            return Err(Error::port(ErrorKind::NotFound, "bind static", port.0));
        }
        reap(&self.shared);
        let mut census = Census::default();
        let me = recovery::claim(&self.shared, port.0, &mut census)?;
        port::settle(&self.shared, me, reserve, &mut census)
    }

    /// Becomes the owner of some dynamic port.
    ///
    /// # Errors
    /// `NoSpace` if all are owned, or the reserve cannot be had.
    pub fn bind_dynamic(&self, reserve: Reserve) -> Result<Port> {
        reap(&self.shared);
        let mut census = Census::default();
        for port in self.shared.geometry.static_ports()..self.shared.geometry.ports() {
            if self.shared.owner(port).load(Ordering::Relaxed) != 0 {
                continue;
            }
            let Ok(me) = recovery::claim(&self.shared, port, &mut census) else { continue };
            if empty(&self.shared, me, &mut census).is_empty {
                return port::settle(&self.shared, me, reserve, &mut census);
            }
            self.shared.owner(port).store(0, Ordering::Release);
        }
        Err(Error::new(
            ErrorKind::NoSpace,
            "bind a dynamic port of",
            Subject::Segment(self.shared.name.clone()),
        ))
    }

    /// Sends what is submitted to `port` to `via` instead, unless that sends it or has seen it; `None` ends that.
    ///
    /// # Errors
    /// `NotFound` if there is no such port; `Invalid` for a port via itself.
    pub fn set_route(&self, port: PortNumber, via: Option<PortNumber>) -> Result<()> {
        let ports = self.shared.geometry.ports();
        if port.0 >= ports || via.is_some_and(|via| via.0 >= ports) {
            return Err(Error::port(ErrorKind::NotFound, "set the route of", port.0));
        }
        if via == Some(port) {
            return Err(Error::port(ErrorKind::Invalid, "set the route of", port.0));
        }
        self.shared.via(port.0).store(via.map_or(0, |via| via.0 + 1), Ordering::Relaxed);
        Ok(())
    }

    /// Gives back what dead owners of dynamic ports held, and finds what dead pushers left. Every peer does it about
    /// once a second; at once, from many processes, and for nothing, it does no harm.
    pub fn reap(&self) -> Reaped {
        reap(&self.shared)
    }

    /// Checks the tables. On a segment at rest every finding is a fault; on a live one some are passing states.
    pub fn verify(&self) -> Vec<Finding> {
        inspect::verify(&self.shared)
    }

    /// All ports that are or were bound, or have something in them.
    pub fn ports(&self) -> Vec<PortInfo> {
        inspect::ports(&self.shared)
    }

    /// All requests that are not free.
    pub fn requests(&self) -> Vec<RequestInfo> {
        inspect::requests(&self.shared)
    }

    /// How often something was found that no correct peer writes.
    pub fn anomalies(&self) -> u64 {
        self.shared.counter64(std::mem::offset_of!(crate::abi::Counters, anomalies)).load(Ordering::Relaxed)
    }

    /// How many owners died and were noticed.
    pub fn deaths(&self) -> u64 {
        self.shared.counter64(std::mem::offset_of!(crate::abi::Counters, deaths)).load(Ordering::Relaxed)
    }

    /// Turns tracing on or off, for all peers.
    pub fn set_trace(&self, on: bool) {
        trace::set(&self.shared, on);
    }

    /// The last events, oldest first.
    pub fn trace(&self) -> impl Iterator<Item = Event> + '_ {
        trace::events(&self.shared)
    }
}

impl Shared {
    /// Makes a segment of fresh, zeroed memory: zero is empty, nobody and free everywhere.
    fn fresh(map: Mapping, geometry: Geometry, plan: Plan, name: &str, is_file: bool) -> Shared {
        let segment_id = RandomState::new().build_hasher().finish();
        map.copy_in(0, header(&geometry, &plan, segment_id).as_bytes());
        let stand_ins = StandIns::default();
        Shared { map, geometry, plan, segment_id, name: name.into(), is_file, stand_ins }
    }
}

fn header(geometry: &Geometry, plan: &Plan, segment_id: u64) -> Header {
    Header {
        magic: MAGIC,
        version: VERSION,
        header_bytes: u32::try_from(HEADER_BYTES).expect("one page"),
        features: FEATURES,
        segment_id,
        ports: geometry.ports(),
        static_ports: geometry.static_ports(),
        requests: geometry.requests(),
        request_bytes: u32::try_from(size_of::<Slot>()).expect("less than a page"),
        arena_bytes: geometry.arena_bytes(),
        total_bytes: as_u64(plan.total_bytes),
        port_table: as_u64(plan.port_table),
        table_slabs: as_u64(plan.table_slabs),
        arena_slabs: as_u64(plan.arena_slabs),
        request_table: as_u64(plan.request_table),
        trace: as_u64(plan.trace),
        arena: as_u64(plan.arena),
        pid_namespace: pid_namespace(),
        reserved: 0,
    }
}

/// Checks a header against the code and the length of the file.
fn check(found: &Header, len: u64) -> std::result::Result<(Geometry, Plan), ErrorKind> {
    if found.magic != MAGIC {
        return Err(ErrorKind::Corrupt);
    }
    let is_foreign = found.pid_namespace != pid_namespace();
    if found.version != VERSION || found.features & !FEATURES != 0 || is_foreign {
        return Err(ErrorKind::Unsupported);
    }
    let geometry = Geometry::new(found.ports, found.static_ports, found.requests, found.arena_bytes)
        .map_err(|_| ErrorKind::Corrupt)?;
    let plan = Plan::new(&geometry);
    let wanted = header(&geometry, &plan, found.segment_id);
    let is_same = wanted.as_bytes() == found.as_bytes() && found.total_bytes == len;
    if is_same { Ok((geometry, plan)) } else { Err(ErrorKind::Corrupt) }
}

/// The name without its type, checked: it becomes a file name.
fn plain_name(name: &str) -> Result<&str> {
    let plain = name.strip_prefix("posix:").unwrap_or(name);
    let is_fine = (1..=MAX_NAME).contains(&plain.len())
        && !plain.starts_with('.')
        && plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if is_fine { Ok(plain) } else { Err(Error::segment(ErrorKind::Invalid, "name", name)) }
}

fn path(plain: &str) -> String {
    format!("{DIRECTORY}/{plain}")
}
