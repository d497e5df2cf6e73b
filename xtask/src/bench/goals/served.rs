//! Volumes as others see them, against the servers that people use.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::goal::{Board, Wanted};
use super::{Place, is_there, must};
use crate::bench::fio::{self, AREA_BYTES, Load, Pattern, Target};
use crate::bench::server::Server;
use crate::bench::stack::Stack;
use crate::process::program;

const VOLUME: &str = "goals-served";

const fn load(is_write: bool, block_bytes: u32, depth: u32) -> Load {
    Load { is_write, block_bytes, depth, pattern: Pattern::Random }
}

const LOADS: [Load; 6] = [
    load(false, 4 << 10, 1),
    load(true, 4 << 10, 1),
    load(false, 4 << 10, 32),
    load(true, 4 << 10, 32),
    load(false, 1 << 20, 8),
    load(true, 1 << 20, 8),
];

/// Everybody uses the page cache, as is everybody's default.
pub(super) fn over_nbd(board: &mut Board, place: &Place<'_>) -> Result<()> {
    if !is_there("fio") {
        return Ok(());
    }
    let (stack, effort) = (place.stack(false)?, place.effort);
    board.section("NBD");
    let uri = shown(&stack, "nbd")?;
    let ours = Target::Nbd(&uri);
    fio::fill(&ours)?;
    for other in Other::ALL.iter().filter(|other| is_there(other.program)) {
        let (server, uri) = other.start(&place.folder)?;
        let theirs = Target::Nbd(&uri);
        fio::fill(&theirs)?;
        for load in LOADS {
            board.compare(
                (&load.name(), other.name),
                Wanted::AtLeast(other.goal),
                effort.rounds,
                || fio::run(&ours, load, effort.seconds),
                || fio::run(&theirs, load, effort.seconds),
            )?;
        }
        drop(server);
    }
    stack.vlmc(&["unmap", VOLUME]).map(drop)
}

/// A new volume as an endpoint shows it.
fn shown(stack: &Stack, via: &str) -> Result<String> {
    stack.vlmc(&["create", VOLUME, "--size", &format!("{}M", AREA_BYTES >> 20)])?;
    stack.vlmc(&["map", VOLUME, "--via", via]).with_context(|| format!("cannot map a volume by {via}"))
}

/// A server that is compared with.
struct Other {
    name: &'static str,
    program: &'static str,
    goal: f64,
    format: &'static str,
}

impl Other {
    const ALL: [Other; 5] = [
        Other { name: "nbdkit, file plugin", program: "nbdkit", goal: 1.0, format: "raw" },
        Other { name: "qemu-nbd, raw", program: "qemu-nbd", goal: 2.0, format: "raw" },
        Other { name: "qemu-nbd, qcow2", program: "qemu-nbd", goal: 2.0, format: "qcow2" },
        Other { name: "qemu-storage-daemon, raw", program: "qemu-storage-daemon", goal: 2.0, format: "raw" },
        Other {
            name: "qemu-storage-daemon, qcow2",
            program: "qemu-storage-daemon",
            goal: 2.0,
            format: "qcow2",
        },
    ];

    fn start(&self, folder: &Path) -> Result<(Server, String)> {
        let name = format!("{}-{}", self.program, self.format);
        let (socket, log) = (folder.join(format!("{name}.sock")), folder.join(format!("{name}.log")));
        let image = self.image(&folder.join(format!("{name}.img")))?;
        let mut command = program(self.program);
        match self.program {
            "nbdkit" => {
                command.args(["--foreground", "--unix"]).arg(&socket).arg("file").arg(&image);
            }
            "qemu-nbd" => {
                command.args(["--persistent", "--shared=4", "--aio=io_uring", "--format", self.format]);
                command.arg("--socket").arg(&socket).arg(&image);
            }
            _ => {
                let file = format!("driver=file,node-name=file,filename={},aio=io_uring", image.display());
                let node = format!("driver={},node-name=image,file=file", self.format);
                let server = format!("addr.type=unix,addr.path={}", socket.display());
                command.args(["--blockdev", &file, "--blockdev", &node, "--nbd-server", &server]);
                command.args(["--export", "type=nbd,id=image,node-name=image,name=,writable=on"]);
            }
        }
        let server = Server::start(&mut command, &log, || socket.exists())?;
        Ok((server, format!("nbd+unix:///?socket={}", socket.display())))
    }

    fn image(&self, path: &Path) -> Result<PathBuf> {
        if self.format == "raw" {
            std::fs::File::create(path)?.set_len(AREA_BYTES)?;
        } else {
            must(
                program("qemu-img")
                    .args(["create", "-q", "-f", self.format])
                    .arg(path)
                    .arg(AREA_BYTES.to_string()),
            )?;
        }
        Ok(path.to_owned())
    }
}

/// A loop device over our file, and one over nbdfuse's.
pub(super) fn through_fuse(board: &mut Board, place: &Place<'_>) -> Result<()> {
    if ["fio", "nbdfuse", "nbdkit"].into_iter().any(|name| !is_there(name)) {
        return Ok(());
    }
    let (stack, effort) = (place.stack(false)?, place.effort);
    let device = shown(&stack, "fuse")?;
    if !device.starts_with("/dev/") {
        println!("skipped: FUSE: no loop devices here");
        return Ok(());
    }
    board.section("FUSE with a loop device over it");
    let (ours, theirs) =
        (Target::File { path: Path::new(&device), is_direct: true }, NbdFuse::start(&place.folder)?);
    let their_target = Target::File { path: &theirs.device, is_direct: true };
    [&ours, &their_target].into_iter().try_for_each(fio::fill)?;
    for load in LOADS {
        board.compare(
            (&load.name(), "nbdfuse over nbdkit, file plugin, and a loop device"),
            Wanted::AtLeast(1.5),
            effort.rounds,
            || fio::run(&ours, load, effort.seconds),
            || fio::run(&their_target, load, effort.seconds),
        )?;
    }
    drop(theirs);
    stack.vlmc(&["unmap", VOLUME]).map(drop)
}

/// nbdfuse's file with a loop device over it; dropping it takes both away.
struct NbdFuse {
    device: PathBuf,
    mountpoint: PathBuf,
    _servers: [Server; 2],
}

impl NbdFuse {
    fn start(folder: &Path) -> Result<NbdFuse> {
        let (nbdkit, uri) = Other::ALL[0].start(&fresh(folder, "nbdfuse")?)?;
        let mountpoint = fresh(folder, "nbdfuse-mount")?;
        let file = mountpoint.join("nbd");
        let mut command = program("nbdfuse");
        command.arg(&mountpoint).arg(&uri);
        let server = Server::start(&mut command, &folder.join("nbdfuse.log"), || file.exists())?;
        let device = must(program("losetup").args(["--find", "--show", "--direct-io=on"]).arg(&file))?;
        Ok(NbdFuse { device: PathBuf::from(device.trim()), mountpoint, _servers: [server, nbdkit] })
    }
}

fn fresh(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

impl Drop for NbdFuse {
    fn drop(&mut self) {
        // What is left of either is seen by the next command on the folder.
        crate::process::succeeds(program("losetup").arg("--detach").arg(&self.device));
        crate::process::succeeds(program("fusermount3").arg("-u").arg(&self.mountpoint));
    }
}
