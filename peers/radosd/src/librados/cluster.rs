//! A connection to a cluster.

use std::ffi::{CStr, CString};
use std::io;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use super::checked;
use super::functions::{Functions, Handle};

/// How to reach a cluster.
pub(crate) struct Access<'a> {
    pub(crate) cephx_id: &'a str,
    /// None: where Ceph's own tools look.
    pub(crate) ceph_conf: Option<&'a Path>,
    /// 0: for ever.
    pub(crate) op_timeout_s: u32,
    pub(crate) connect_timeout_s: u32,
}

/// A connection: to the cluster, one client with an address of its own.
pub(crate) struct Cluster {
    pub(super) functions: Arc<Functions>,
    raw: Handle,
}

// SAFETY: librados allows calls on one cluster handle from any number of threads.
unsafe impl Send for Cluster {}
// SAFETY: as above.
unsafe impl Sync for Cluster {}

/// How long an address stays on the blocklist, in seconds: longer than any message of it can be under way.
const BLOCKLIST_S: u32 = 3600;

/// Shuts out an address that there cannot be.
const BLOCKLIST_NOBODY: &str = r#"{"prefix": "osd blocklist", "blocklistop": "add", "addr": "nobody/0"}"#;

impl Cluster {
    /// # Errors
    /// What the library says to the configuration file, or to the attempt.
    pub(crate) fn connect(functions: Arc<Functions>, access: &Access<'_>) -> io::Result<Self> {
        let mut raw: Handle = ptr::null_mut();
        let id = text(access.cephx_id)?;
        // SAFETY: the library stores a new handle in `raw`; `id` lives longer than the call.
        checked(unsafe { (functions.create)(&raw mut raw, id.as_ptr()) })?;
        let cluster = Self { functions, raw };
        cluster.read_file(access.ceph_conf)?;
        cluster.set("rados_osd_op_timeout", access.op_timeout_s)?;
        cluster.set("rados_mon_op_timeout", access.op_timeout_s)?;
        cluster.set("client_mount_timeout", access.connect_timeout_s)?;
        // With a bound of its own the library would make the thread wait that gives it one more; `nr_ops` is the bound.
        cluster.set("objecter_inflight_ops", 0)?;
        cluster.set("objecter_inflight_op_bytes", 0)?;
        // SAFETY: `raw` is a handle that is not connected yet.
        checked(unsafe { (cluster.functions.connect)(cluster.raw) })?;
        Ok(cluster)
    }

    fn read_file(&self, file: Option<&Path>) -> io::Result<()> {
        let path = file.map(|path| text(&path.to_string_lossy())).transpose()?;
        let pointer = path.as_ref().map_or(ptr::null(), |path| path.as_ptr());
        // SAFETY: null or a text that lives longer than the call.
        checked(unsafe { (self.functions.conf_read_file)(self.raw, pointer) }).map(drop)
    }

    fn set(&self, key: &str, value: u32) -> io::Result<()> {
        let (key, value) = (text(key)?, text(&value.to_string())?);
        // SAFETY: texts that live longer than the call.
        checked(unsafe { (self.functions.conf_set)(self.raw, key.as_ptr(), value.as_ptr()) }).map(drop)
    }

    /// The client's address as the blocklist takes it.
    pub(crate) fn address(&self) -> io::Result<String> {
        let mut addresses: *mut libc::c_char = ptr::null_mut();
        // SAFETY: the library stores a new text in `addresses`.
        checked(unsafe { (self.functions.getaddrs)(self.raw, &raw mut addresses) })?;
        // SAFETY: the text that the library stored, until it is freed below.
        let told = unsafe { CStr::from_ptr(addresses) }.to_string_lossy().into_owned();
        // SAFETY: as above; it is not used any more.
        unsafe { (self.functions.buffer_free)(addresses) };
        plain_address(&told).ok_or_else(|| io::Error::other(format!("no client address in {told:?}")))
    }

    /// Shuts a client out for good: it can change nothing any more once this returns, in objects that are asked for anything
    /// through this connection first.
    pub(crate) fn blocklist(&self, address: &str) -> io::Result<()> {
        let address = text(address)?;
        // SAFETY: a text that lives longer than the call.
        checked(unsafe { (self.functions.blocklist_add)(self.raw, address.as_ptr(), BLOCKLIST_S) })?;
        // SAFETY: a connected handle.
        checked(unsafe { (self.functions.wait_for_latest_osdmap)(self.raw) }).map(drop)
    }

    /// Whether the monitors would let this client shut others out. Asks for what they can only refuse: first because of who
    /// asks, then because there is no such address.
    pub(crate) fn may_blocklist(&self) -> io::Result<bool> {
        let command = text(BLOCKLIST_NOBODY)?;
        let (commands, input, answer, len) =
            (command.as_ptr(), ptr::null(), ptr::null_mut(), ptr::null_mut());
        let run = self.functions.mon_command;
        // SAFETY: one text that lives longer than the call; the library stores no answer where it is given no place.
        let told = unsafe { run(self.raw, &raw const commands, 1, input, 0, answer, len, answer, len) };
        match checked(told) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => Err(error),
            _ => Ok(true),
        }
    }

    /// The C handle, for the rest of this module.
    pub(super) fn raw(&self) -> Handle {
        self.raw
    }
}

impl Drop for Cluster {
    /// Waits for what the library still does.
    fn drop(&mut self) {
        // SAFETY: whoever has something of this connection also has the connection, so nothing uses it any more.
        unsafe { (self.functions.shutdown)(self.raw) };
    }
}

/// A text as C has it.
pub(super) fn text(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// The first of `[v2:10.0.0.1:0/42,v1:10.0.0.1:0/42]`, without its kind: all of them have one number, which is what counts.
fn plain_address(told: &str) -> Option<String> {
    let list = if told.starts_with("[v") { &told[1..] } else { told };
    let first = list.split(',').next()?.trim_end_matches(']');
    let plain = ["v1:", "v2:", "any:"].iter().find_map(|kind| first.strip_prefix(kind)).unwrap_or(first);
    plain.contains('/').then(|| plain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocklist_gets_an_address_without_its_kind() {
        assert_eq!(plain_address("v2:127.0.0.1:0/42").as_deref(), Some("127.0.0.1:0/42"));
        assert_eq!(plain_address("10.0.0.1:0/7").as_deref(), Some("10.0.0.1:0/7"));
        assert_eq!(plain_address("[v2:10.0.0.1:0/42,v1:10.0.0.1:0/42]").as_deref(), Some("10.0.0.1:0/42"));
        assert_eq!(plain_address("[v2:[::1]:0/42,v1:[::1]:0/42]").as_deref(), Some("[::1]:0/42"));
        assert_eq!(plain_address("nothing"), None);
    }
}
