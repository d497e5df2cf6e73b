//! Attaching and detaching: the file, then the loop device over it.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use client::{Client, Device, Endpoint, Stack, keeping::Keeper};
use peer::Common;
use protocol::{Attached, ErrorKind, Failure};
use xseg::Reserve;
use zerocopy::IntoBytes;

use crate::{
    config::{Config, LoopDevices},
    filesystem::{MAX_IO_BYTES, VolumeFiles},
    io::VolumeIo,
    kernel::Kernel,
    loop_device::LoopDevice,
    mounts,
    serving::{self, Threads},
    shown::{KEPT, Note, NotedFile, Shown, ShownSet},
    wire::Notice,
};

/// How many threads take requests from the kernel.
const KERNEL_THREADS: usize = 2;

/// How long the kernel may take to agree with us after the mount.
const AGREEMENT: Duration = Duration::from_secs(10);
/// How long a detach waits for users that are just leaving: the kernel tells of a closed file a moment after it was closed.
const LAST_USER_PATIENCE: Duration = Duration::from_secs(1);
/// How often it looks.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the kernel may take to end the connection after the file system was unmounted.
const END_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct FuseEndpoint {
    stack: Stack,
    config: Config,
    shown: ShownSet,
    loops: HashMap<String, LoopDevice>,
    keeper: Keeper,
    kernel: Arc<Kernel>,
    threads: Threads,
}

impl FuseEndpoint {
    /// Goes on with a killed predecessor's mount if somebody kept its connection, else mounts the file system.
    pub(crate) fn start(stack: Stack, common: &Common, config: &Config) -> io::Result<FuseEndpoint> {
        let (keeper, kept) = Keeper::of(common);
        let kept = kept.into_iter().find(|kept| kept.name == KEPT);
        match kept.map(|kept| (serde_json::from_str(&kept.note), kept.descriptor)) {
            Some((Ok(note), descriptor)) => FuseEndpoint::resume(stack, config, keeper, &note, descriptor),
            Some((Err(error), _)) => {
                tracing::error!(%error, "what is said of the kept mount makes no sense: mounting anew");
                FuseEndpoint::mount(stack, config, keeper)
            }
            None => FuseEndpoint::mount(stack, config, keeper),
        }
    }

    /// Mounts the file system, over what a predecessor that was killed may have left.
    fn mount(stack: Stack, config: &Config, keeper: Keeper) -> io::Result<FuseEndpoint> {
        // The kernel names the files only as long as they are below the mount.
        LoopDevice::detach_all_below(&config.mountpoint);
        mounts::detach_left(&config.mountpoint);
        fs::create_dir_all(&config.mountpoint)?;
        let kernel = Arc::new(Kernel::new(mounts::attach(&config.mountpoint)?));
        let shown = ShownSet::new(keeper.clone(), 0);
        let (files, agreement) = files(&shown);
        let threads = serving::start(&kernel, &files, KERNEL_THREADS)?;
        agreement
            .recv_timeout(AGREEMENT)
            .map_err(|_| io::Error::other("the kernel does not agree with us"))?;
        if files.has_resend.load(Ordering::Acquire) {
            keeper.keep(KEPT, shown.told(), kernel.as_fd().try_clone_to_owned()?);
        } else {
            tracing::warn!(
                "this kernel does not ask again: if this role is killed, what it shows is lost (Linux 6.9 can)"
            );
        }
        let (config, loops) = (config.clone(), HashMap::new());
        Ok(FuseEndpoint { stack, config, shown, loops, keeper, kernel, threads })
    }

    /// Serves a predecessor's mount on: its files as the kernel knows them, then what it had not answered.
    fn resume(
        stack: Stack,
        config: &Config,
        keeper: Keeper,
        note: &Note,
        descriptor: OwnedFd,
    ) -> io::Result<FuseEndpoint> {
        keeper.keep(KEPT, serde_json::to_string(note)?, descriptor.try_clone()?);
        let kernel = Arc::new(Kernel::new(descriptor));
        let shown = ShownSet::new(keeper.clone(), note.next_inode);
        let loops = LoopDevice::all_below(&config.mountpoint);
        let config = config.clone();
        let mut endpoint =
            FuseEndpoint { stack, config, shown, loops, keeper, kernel, threads: Threads::default() };
        for file in &note.files {
            match endpoint.show_again(file) {
                Err(failure) if failure.kind == ErrorKind::NotFound => {
                    tracing::error!(volume = file.volume, %failure, "a volume that was shown is gone");
                }
                shown => shown.map_err(|failure| io::Error::other(failure.to_string()))?,
            }
        }
        let (files, _) = files(&endpoint.shown);
        endpoint.threads = serving::start(&endpoint.kernel, &files, KERNEL_THREADS)?;
        endpoint.kernel.notify(Notice::Resend, &[])?;
        tracing::info!(volumes = note.files.len(), "goes on with a mount that was kept");
        Ok(endpoint)
    }

    fn show_again(&self, file: &NotedFile) -> Result<(), Failure> {
        // What the predecessor had under way may not land after what the kernel asks again and then asks next.
        client::await_the_dead(&self.stack, &file.volume)?;
        let shown = self.open(&file.volume, file.is_read_only, file.inode, file.handles.clone())?;
        self.shown.insert_noted(shown);
        Ok(())
    }

    fn open(
        &self,
        volume: &str,
        is_read_only: bool,
        inode: u64,
        handles: BTreeSet<u64>,
    ) -> Result<Arc<Shown>, Failure> {
        let bytes = u64::from(self.config.buffer_mib) << 20;
        let reserve = Reserve { requests: self.config.depth, bytes: bytes.max(2 * u64::from(MAX_IO_BYTES)) };
        let device = Device::open(&self.stack, volume, is_read_only, reserve)?;
        let info = device.info().clone();
        let io = VolumeIo::start(device, &self.stack.segment).map_err(|error| unavailable(volume, &error))?;
        let size_bytes = AtomicU64::new(info.size_bytes);
        let (volume, handles) = (volume.to_owned(), Mutex::new(handles));
        Ok(Arc::new(Shown { volume, inode, info, size_bytes, io, handles }))
    }

    fn wants_loop(&self) -> bool {
        match self.config.loop_devices {
            LoopDevices::Auto => LoopDevice::is_possible(),
            LoopDevices::Never => false,
            LoopDevices::Always => true,
        }
    }

    fn location(&self, volume: &str) -> String {
        match self.loops.get(volume) {
            Some(device) => device.path.display().to_string(),
            None => self.config.mountpoint.join(volume).display().to_string(),
        }
    }

    /// Users that stay, other than ourselves.
    fn staying_count(&self, shown: &Shown) -> u32 {
        let deadline = Instant::now() + LAST_USER_PATIENCE;
        loop {
            let is_claimed = self.loops.get(&shown.volume).is_some_and(LoopDevice::is_claimed);
            let count = self.user_count(shown).max(u32::from(is_claimed));
            if count == 0 || Instant::now() >= deadline {
                return count;
            }
            thread::sleep(PAUSE);
        }
    }

    /// Users other than ourselves, as far as they are seen without disturbing anybody.
    fn user_count(&self, shown: &Shown) -> u32 {
        match self.loops.get(&shown.volume) {
            // The loop device itself has the file open once.
            Some(device) => shown.open_count().saturating_sub(1) + device.user_count(),
            None => shown.open_count(),
        }
    }

    fn find(&self, volume: &str) -> Result<Arc<Shown>, Failure> {
        let missing =
            || Failure::new(ErrorKind::NotFound, format!("volume {volume} is not mapped through fuse"));
        self.shown.by_name(volume).ok_or_else(missing)
    }

    fn take_loop(&mut self, volume: &str) -> Result<(), Failure> {
        if let Some(device) = self.loops.get(volume) {
            device.detach().map_err(|error| unavailable(volume, &error))?;
            self.loops.remove(volume);
        }
        Ok(())
    }
}

impl Endpoint for FuseEndpoint {
    fn attach(&mut self, volume: &str, is_read_only: bool) -> Result<Attached, Failure> {
        if self.shown.by_name(volume).is_some() {
            let message = format!("volume {volume} is mapped already: {}", self.location(volume));
            return Err(Failure::new(ErrorKind::Exists, message));
        }
        let shown = self.open(volume, is_read_only, self.shown.next_inode(), BTreeSet::new())?;
        self.shown.insert(Arc::clone(&shown));
        if self.wants_loop() {
            match LoopDevice::attach(&self.config.mountpoint.join(volume), shown.info.is_read_only) {
                Ok(device) => drop(self.loops.insert(volume.to_owned(), device)),
                Err(error) if self.config.loop_devices == LoopDevices::Auto => {
                    tracing::warn!(volume, %error, "no loop device: the volume is shown as a file");
                }
                Err(error) => {
                    self.shown.remove(volume);
                    return Err(unavailable(volume, &error));
                }
            }
        }
        Ok(shown.attached(&self.location(volume), 0))
    }

    fn detach(&mut self, volume: &str, is_forced: bool) -> Result<(), Failure> {
        let shown = self.find(volume)?;
        let user_count = if is_forced { 0 } else { self.staying_count(&shown) };
        if user_count > 0 {
            let location = self.location(volume);
            let message = format!(
                "volume {volume} is in use: {location} has {user_count} users; unmount or close it first"
            );
            return Err(Failure::new(ErrorKind::Busy, message));
        }
        self.take_loop(volume)?;
        if !shown.info.is_read_only {
            shown.io.flush()?;
        }
        self.shown.remove(volume);
        close(&self.stack, volume)
    }

    fn attached(&self) -> Vec<Attached> {
        let all = self.shown.all();
        all.iter()
            .map(|shown| shown.attached(&self.location(&shown.volume), self.user_count(shown)))
            .collect()
    }

    fn refresh(&mut self, volume: &str) -> Result<(), Failure> {
        let shown = self.find(volume)?;
        let info = Client::connect(&self.stack)?.info(volume)?;
        shown.size_bytes.store(info.size_bytes, Ordering::Relaxed);
        // A kernel that has forgotten the file will ask for its size anyway.
        let whole = [shown.inode, 0, 0];
        let _forgotten = self.kernel.notify(Notice::InvalidInode, whole.as_bytes());
        match self.loops.get(volume) {
            Some(device) => device.refresh().map_err(|error| unavailable(volume, &error)),
            None => Ok(()),
        }
    }

    fn suspend(&mut self) {
        for shown in self.shown.all() {
            let flushed = if shown.info.is_read_only { Ok(()) } else { shown.io.flush() };
            if let Err(failure) = self.take_loop(&shown.volume).and(flushed) {
                tracing::warn!(volume = shown.volume, %failure, "left with I/O that could not be finished");
            }
        }
        if let Err(error) = mounts::detach(&self.config.mountpoint) {
            tracing::warn!(%error, "cannot unmount the volumes' file system; it goes when its users do");
            mounts::detach_left(&self.config.mountpoint);
            return self.keeper.forget(KEPT);
        }
        self.keeper.forget(KEPT);
        if !self.threads.have_ended(END_PATIENCE) {
            tracing::warn!(
                "another mount namespace has the volumes' file system still; it ends with this process"
            );
        }
    }
}

/// What the threads answer from, and where the first agreement is heard of.
fn files(shown: &ShownSet) -> (Arc<VolumeFiles>, Receiver<()>) {
    let (agreed, agreement) = mpsc::sync_channel(1);
    let files = VolumeFiles {
        shown: shown.clone(),
        since: SystemTime::now(),
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        has_resend: AtomicBool::new(false),
        agreed,
    };
    (Arc::new(files), agreement)
}

/// Gives the volume free. Another endpoint may still show it or nobody has opened it: both are fine.
fn close(stack: &Stack, volume: &str) -> Result<(), Failure> {
    match Client::connect(stack)?.close(volume) {
        Err(failure)
            if !matches!(failure.kind, ErrorKind::NotOwner | ErrorKind::NotFound | ErrorKind::Invalid) =>
        {
            Err(failure)
        }
        _ => Ok(()),
    }
}

fn unavailable(volume: &str, error: &io::Error) -> Failure {
    Failure::new(ErrorKind::Unavailable, format!("cannot show volume {volume}: {error}"))
}
