//! Attaching and detaching: the file, then the loop device over it.

use std::{
    collections::HashMap,
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use client::{Client, Device, Endpoint, Stack};
use fuser::{BackgroundSession, INodeNo, MountOption};
use protocol::{Attached, ErrorKind, Failure};
use xseg::Reserve;

use crate::{
    config::{Config, LoopDevices},
    filesystem::{MAX_IO_BYTES, VolumeFiles},
    io::VolumeIo,
    loop_device::LoopDevice,
    mounts,
    shown::{Shown, ShownSet},
};

/// How many threads take requests from the kernel.
const KERNEL_THREADS: usize = 2;

pub(crate) struct FuseEndpoint {
    stack: Stack,
    config: Config,
    shown: ShownSet,
    loops: HashMap<String, LoopDevice>,
    session: Option<BackgroundSession>,
}

impl FuseEndpoint {
    /// Mounts the file system, over what a predecessor that was killed may have left.
    pub(crate) fn mount(stack: Stack, config: &Config) -> io::Result<FuseEndpoint> {
        // The kernel names the files only as long as they are below the mount.
        LoopDevice::detach_all_below(&config.mountpoint);
        mounts::detach_left(&config.mountpoint);
        fs::create_dir_all(&config.mountpoint)?;
        let shown = ShownSet::default();
        let files = VolumeFiles {
            shown: shown.clone(),
            since: SystemTime::now(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        };
        let mut options = fuser::Config::default();
        options.mount_options = vec![
            MountOption::FSName(mounts::SOURCE.into()),
            MountOption::NoSuid,
            MountOption::NoDev,
            MountOption::NoExec,
        ];
        options.n_threads = Some(KERNEL_THREADS);
        options.clone_fd = true;
        let session = fuser::spawn_mount(files, &config.mountpoint, &options)?;
        Ok(FuseEndpoint {
            stack,
            config: config.clone(),
            shown,
            loops: HashMap::new(),
            session: Some(session),
        })
    }

    fn show(&self, volume: &str, is_read_only: bool) -> Result<Arc<Shown>, Failure> {
        let bytes = u64::from(self.config.buffer_mib) << 20;
        let reserve = Reserve { requests: self.config.depth, bytes: bytes.max(2 * u64::from(MAX_IO_BYTES)) };
        let device = Device::open(&self.stack, volume, is_read_only, reserve)?;
        let info = device.info().clone();
        let io = VolumeIo::start(device).map_err(|error| unavailable(volume, &error))?;
        let size_bytes = AtomicU64::new(info.size_bytes);
        let inode = self.shown.next_inode();
        let shown = Arc::new(Shown {
            volume: volume.to_owned(),
            inode,
            info,
            size_bytes,
            io,
            open_count: AtomicU32::new(0),
        });
        self.shown.insert(Arc::clone(&shown));
        Ok(shown)
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

    /// Users other than ourselves.
    fn user_count(&self, shown: &Shown) -> u32 {
        match self.loops.get(&shown.volume) {
            // The loop device itself has the file open once.
            Some(device) => shown.open_count.load(Ordering::Relaxed).saturating_sub(1) + device.user_count(),
            None => shown.open_count.load(Ordering::Relaxed),
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
        let shown = self.show(volume, is_read_only)?;
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
        let user_count = self.user_count(&shown);
        if user_count > 0 && !is_forced {
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
        if let Some(session) = &self.session {
            // A kernel that has forgotten the file will ask for its size anyway.
            let _forgotten = session.notifier().inval_inode(INodeNo(shown.inode), 0, 0);
        }
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
        if let Some(session) = self.session.take()
            && let Err(error) = session.umount_and_join()
        {
            tracing::warn!(%error, "cannot unmount the volumes' file system; it goes when its users do");
            mounts::detach_left(&self.config.mountpoint);
        }
    }
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
