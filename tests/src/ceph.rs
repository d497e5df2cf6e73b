//! A Ceph cluster of one's own: Debian's daemons in a private directory, on the loopback interface or a network of one's own.
//!
//! Each daemon has a shell for a parent that reads from us, and ends the daemon when we are gone: so a cluster never outlives
//! the test program, however that ends.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use crate::{Namespace, Network, Outcome, run, tool};

/// How long a busy machine may take for what a quiet one does in a second.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often a cluster that comes up is asked.
const PAUSE: Duration = Duration::from_millis(50);
/// Where a monitor listens that has an address for itself.
const MONITOR_PORT: u16 = 3300;
/// What a cluster is made of.
const PROGRAMS: [&str; 5] = ["ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool", "rados"];
/// Runs a daemon until standard input ends, or somebody writes a line to it.
const KEEPER: &str = r#""$@" </dev/null >>"$LOG" 2>&1 & pid=$!; read -r _; kill -KILL $pid; wait"#;

/// What keeps the objects of a cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// Memory: quick to start, forgets everything when its OSD stops.
    Memory,
    /// The same, where no request costs more because of those before it.
    Pages,
    /// A file: an OSD that stops can start again.
    File,
}

impl Disk {
    /// What an OSD is told of it.
    fn settings(self) -> &'static str {
        match self {
            Disk::Memory => "memstore",
            Disk::Pages => "memstore\nmemstore page set = true",
            Disk::File => "bluestore",
        }
    }
}

/// Whether a cluster asks who its clients are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Everybody may do everything.
    Everybody,
    /// Who has a key, what goes with it (cephx).
    Keys,
}

/// A running cluster. Ends, and goes with its directory, when dropped.
pub struct Ceph {
    directory: tempfile::TempDir,
    osds: Vec<Mutex<Option<Daemon>>>,
    daemons: Mutex<Vec<Daemon>>,
    /// Where it runs, if not where the tests do.
    namespace: Option<Arc<Namespace>>,
}

/// What a cluster is to be.
struct Plan<'a> {
    address: &'a str,
    port: u16,
    namespace: Option<Arc<Namespace>>,
    trust: Trust,
    disk: Disk,
    osd_count: usize,
}

impl Plan<'_> {
    /// What its configuration file says.
    fn configuration(&self, directory: &Path) -> String {
        CONFIGURATION
            .replace("DIRECTORY", directory.to_str().unwrap())
            .replace("ADDRESS", self.address)
            .replace("PORT", &self.port.to_string())
            .replace("TRUST", if self.trust == Trust::Keys { "cephx" } else { "none" })
            .replace("STORE", self.disk.settings())
            .replace("REPLICAS", &self.osd_count.to_string())
            .replace("FSID", std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim())
    }
}

/// A daemon, by its keeper.
struct Daemon(Child);

impl Ceph {
    /// Whether clusters can be started here; why not.
    ///
    /// # Errors
    /// What is missing.
    pub fn is_possible() -> Result<(), String> {
        match PROGRAMS.into_iter().find(|program| tool(program).is_none()) {
            Some(missing) => Err(format!("missing tool: {missing} (`cargo xtask setup` installs Ceph)")),
            None => Ok(()),
        }
    }

    /// The cluster that the tests of one program share: in memory, with one OSD and the pools `blocks` and `maps`. It ends with
    /// the last of them.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn shared() -> Arc<Ceph> {
        static SHARED: Mutex<Weak<Ceph>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let ceph = Arc::new(Ceph::start(Disk::Memory, 1));
            ["blocks", "maps"].iter().for_each(|pool| ceph.make_pool(pool));
            *shared = Arc::downgrade(&ceph);
            ceph
        })
    }

    /// Starts a cluster with so many OSDs.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start(disk: Disk, osd_count: usize) -> Ceph {
        Ceph::start_for(Trust::Everybody, disk, osd_count)
    }

    /// Starts a cluster with so many OSDs, which trusts these.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start_for(trust: Trust, disk: Disk, osd_count: usize) -> Ceph {
        let (address, port, namespace) = ("127.0.0.1", free_port(), None);
        Ceph::start_as(Plan { address, port, namespace, trust, disk, osd_count })
    }

    /// Starts a cluster in memory, with one OSD, that the hosts of a network reach.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start_on(network: &Network) -> Ceph {
        Ceph::start_as(Plan {
            address: network.address(),
            port: MONITOR_PORT,
            namespace: Some(network.storage().clone()),
            trust: Trust::Everybody,
            disk: Disk::Memory,
            osd_count: 1,
        })
    }

    fn start_as(plan: Plan<'_>) -> Ceph {
        let directory = tempfile::Builder::new().prefix("archipelago-ceph-").tempdir().unwrap();
        let osd_count = plan.osd_count;
        let text = plan.configuration(directory.path());
        let (osds, daemons, namespace) = (Vec::new(), Mutex::default(), plan.namespace);
        let mut ceph = Ceph { directory, osds, daemons, namespace };
        std::fs::write(ceph.configuration(), text).unwrap();
        ceph.make_keys(osd_count);
        ceph.make_monitor();
        for id in 0..osd_count {
            ceph.make_osd(id);
        }
        ceph.await_osds(osd_count);
        ceph
    }

    /// The configuration file for clients.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.path("ceph.conf")
    }

    /// Makes a user with these rights, or gives it these instead of those it has; the configuration file for it, which names a
    /// keyring that holds its key alone.
    ///
    /// # Panics
    /// If the cluster does not take the rights.
    #[must_use]
    pub fn user(&self, name: &str, rights: &[&str]) -> PathBuf {
        let (entity, conf) = (format!("client.{name}"), self.path(&format!("{name}.conf")));
        let keyring = self.path(&format!("{name}.keyring"));
        self.ceph(&["auth", "get-or-create", &entity]).done();
        self.ceph(&[&["auth", "caps", &entity], rights].concat()).done();
        self.ceph(&["auth", "get", &entity, "-o", keyring.to_str().unwrap()]).done();
        let text = std::fs::read_to_string(self.configuration()).unwrap();
        let admins = self.path("keyring");
        let text = text.replace(admins.to_str().unwrap(), keyring.to_str().unwrap());
        std::fs::write(&conf, text).unwrap();
        conf
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a pool.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn make_pool(&self, pool: &str) {
        self.ceph(&["osd", "pool", "create", pool, "8"]).done();
        let deadline = Instant::now() + PATIENCE;
        while self.rados(&["-p", pool, "ls"]).code() != Some(0) {
            assert!(Instant::now() < deadline, "pool {pool} does not become active");
            std::thread::sleep(PAUSE);
        }
    }

    /// Runs `ceph` on the cluster.
    #[must_use]
    pub fn ceph(&self, arguments: &[&str]) -> Outcome {
        run(self.command("ceph").args(["--connect-timeout", "30"]).args(arguments))
    }

    /// Runs `rados` on the cluster.
    #[must_use]
    pub fn rados(&self, arguments: &[&str]) -> Outcome {
        run(self.command("rados").args(arguments))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(program),
            Some(namespace) => namespace.command(program),
        };
        command.env("CEPH_CONF", self.configuration());
        command
    }

    /// Ends an OSD as a power switch would.
    pub fn kill_osd(&self, id: usize) {
        drop(self.osds[id].lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Starts an OSD that was ended, and waits until the cluster has it.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_osd(&self, id: usize) {
        let daemon = self.daemon("ceph-osd", &["-i", &id.to_string()]);
        *self.osds[id].lock().unwrap_or_else(PoisonError::into_inner) = Some(daemon);
        self.await_osds(self.osds.len());
    }

    /// Starts a manager, which knows how full pools are.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_manager(&self) {
        std::fs::create_dir_all(self.path("mgr")).unwrap();
        let daemon = self.daemon("ceph-mgr", &["-i", "x"]);
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner).push(daemon);
    }

    fn make_keys(&self, osd_count: usize) {
        let keyring = self.path("keyring");
        let add = |name: &str, rights: &[&str]| {
            let mut command = Command::new("ceph-authtool");
            command.arg(&keyring).args(["--gen-key", "-n", name]);
            if !keyring.exists() {
                command.arg("--create-keyring");
            }
            run(command.args(rights)).done();
        };
        add("mon.", &["--cap", "mon", "allow *"]);
        let everything = ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"];
        add("client.admin", &everything);
        add("mgr.x", &["--cap", "mon", "allow profile mgr", "--cap", "osd", "allow *"]);
        for id in 0..osd_count {
            let rights =
                ["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"];
            add(&format!("osd.{id}"), &rights);
        }
    }

    fn make_monitor(&self) {
        let text = std::fs::read_to_string(self.configuration()).unwrap();
        let value =
            |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
        let (map, keyring) = (self.path("monmap"), self.path("keyring"));
        let mut make = Command::new("monmaptool");
        make.args(["--create", "--fsid", &value("fsid ="), "--addv", "a", &value("mon host =")]);
        run(make.args(["--set-min-mon-release", "pacific"]).arg(&map)).done();
        std::fs::create_dir(self.path("mon")).unwrap();
        let mut fill = self.command("ceph-mon");
        fill.args(["--mkfs", "-i", "a", "--monmap"]).arg(&map).arg("--keyring").arg(&keyring);
        run(&mut fill).done();
        let daemon = self.daemon("ceph-mon", &["-i", "a"]);
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner).push(daemon);
    }

    fn make_osd(&mut self, id: usize) {
        let (number, uuid) =
            (id.to_string(), std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap());
        std::fs::create_dir(self.path(&format!("osd{id}"))).unwrap();
        self.ceph(&["osd", "new", uuid.trim(), &number]).done();
        run(self.command("ceph-osd").args(["-i", &number, "--mkfs", "--osd-uuid", uuid.trim()])).done();
        let daemon = self.daemon("ceph-osd", &["-i", &number]);
        self.osds.push(Mutex::new(Some(daemon)));
    }

    fn await_osds(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let wanted = format!("\"num_up_osds\":{count},");
        while !self.ceph(&["osd", "stat", "-f", "json"]).stdout().contains(&wanted) {
            assert!(Instant::now() < deadline, "{count} OSDs do not come up: {}", self.log());
            std::thread::sleep(PAUSE);
        }
    }

    /// What the daemons said.
    fn log(&self) -> String {
        std::fs::read_to_string(self.path("daemons.log")).unwrap_or_default()
    }

    fn daemon(&self, program: &str, arguments: &[&str]) -> Daemon {
        let mut command = self.command("sh");
        command.args(["-c", KEEPER, "keeper", program, "-f"]).args(arguments);
        command.env("LOG", self.path("daemons.log")).stdin(Stdio::piped());
        Daemon(command.spawn().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // The keeper waits for the daemon, so this does too.
        let _ended = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One monitor, small, and quick to notice; each client a session of its own.
const CONFIGURATION: &str = "\
[global]
fsid = FSID
mon host = [v2:ADDRESS:PORT]
public addr = ADDRESS
cluster addr = ADDRESS
ms bind ipv6 = false
ms mon client mode = crc secure
objecter tick interval = 0.5
objecter timeout = 1
auth cluster required = TRUST
auth service required = TRUST
auth client required = TRUST
keyring = DIRECTORY/keyring
run dir = DIRECTORY
admin socket =
log file =
crash dir = DIRECTORY
log to stderr = false
osd crush chooseleaf type = 0
osd pool default size = REPLICAS
osd pool default min size = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon allow pool delete = true
mon warn on pool no redundancy = false
[client]
rbd cache = false
[mon]
mon data = DIRECTORY/mon
mon cluster log file =
mon data avail crit = 1
mon data avail warn = 1
mon osd full ratio = .97
mon osd backfillfull ratio = .96
mon osd nearfull ratio = .95
auth allow insecure global id reclaim = false
paxos propose interval = 0.05
mon initial members = a
mon osd min down reporters = 1
[mgr]
mgr data = DIRECTORY/mgr
mgr initial modules =
mgr stats period = 1
mgr tick period = 1
[osd]
osd data = DIRECTORY/osd$id
osd objectstore = STORE
osd memory target = 939524096
osd class load list = *
osd class default list = *
bluestore block size = 10737418240
bluestore block create = true
memstore device bytes = 8589934592
osd fast shutdown = true
mgr stats period = 1
";
