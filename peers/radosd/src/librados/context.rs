//! A pool and namespace of a cluster, and what can be asked of its objects.

use std::ffi::{CStr, CString};
use std::io;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::sync::WaitGroup;
use libc::{c_char, c_int};

use super::checked;
use super::cluster::{Cluster, text};
use super::completion::{self, Call, Done, Ended, wait, wait_at_most};
use super::functions::Handle;
use super::region::{Buffer, Region};
use super::write::WriteOp;

/// A pool and namespace.
pub(crate) struct Context {
    cluster: Arc<Cluster>,
    raw: Handle,
    /// Each operation that has not ended has a part of it.
    under_way: WaitGroup,
}

// SAFETY: librados allows calls on one context from any number of threads.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// Who has a class lock.
pub(crate) struct Holder {
    pub(crate) client: CString,
    pub(crate) cookie: CString,
    pub(crate) address: CString,
}

/// An object that nobody has: docs/formats.md, section "RADOS store".
const NOBODY: &CStr = c"%rights";
/// How long an OSD has to refuse what a client may not do.
const RIGHTS_PATIENCE: Duration = Duration::from_secs(2);
/// Room for each text that a list of holders is made of.
const TEXT_BYTES: usize = 1024;

impl Context {
    /// # Errors
    /// `NotFound` if there is no such pool.
    pub(crate) fn open(cluster: &Arc<Cluster>, pool: &str, namespace: &str) -> io::Result<Self> {
        let (pool, namespace) = (text(pool)?, text(namespace)?);
        let functions = &cluster.functions;
        let mut raw: Handle = ptr::null_mut();
        // SAFETY: the library stores a new context in `raw`; the texts live longer than the calls.
        checked(unsafe { (functions.ioctx_create)(cluster.raw(), pool.as_ptr(), &raw mut raw) })?;
        let context = Self { cluster: cluster.clone(), raw, under_way: WaitGroup::new() };
        // SAFETY: as above.
        unsafe { (functions.ioctx_set_namespace)(raw, namespace.as_ptr()) };
        // A full pool shall refuse what needs space, not make it wait.
        // SAFETY: a new context that nobody else has yet.
        unsafe { (functions.set_pool_full_try)(raw) };
        Ok(context)
    }

    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    pub(super) fn raw(&self) -> Handle {
        self.raw
    }

    /// Begins an operation in this context, which it outlives in no case.
    fn start(&self, done: Done, submit: impl FnOnce(Handle, *mut Call) -> c_int) {
        completion::start(&self.cluster.functions, self.under_way.clone(), done, submit);
    }

    /// A change to be put together.
    pub(crate) fn change(&self) -> WriteOp {
        WriteOp::new(&self.cluster.functions)
    }

    /// A change by which an object becomes a copy of one that is here.
    pub(crate) fn copy_of(&self, source: &CStr) -> WriteOp {
        self.change().copy_from(source, self.raw)
    }

    /// Fills the region from `offset` on, as far as the object goes. The region must have bytes.
    pub(crate) fn read(&self, name: &CStr, offset: u64, region: Region, done: Done) {
        let functions = &self.cluster.functions;
        self.start(done, |completion, _| {
            let (into, len) = (region.pointer(), region.len());
            // SAFETY: the maker of the region keeps its memory until the operation has ended, which `done` says.
            unsafe { (functions.aio_read)(self.raw, name.as_ptr(), completion, into, len, offset) }
        });
    }

    pub(crate) fn stat(&self, name: &CStr, done: Done) {
        let functions = &self.cluster.functions;
        self.start(done, |completion, call| {
            // SAFETY: the call stays where it is until the operation has ended.
            let size = unsafe { &raw mut (*call).size };
            // SAFETY: as above.
            let changed = unsafe { &raw mut (*call).changed };
            // SAFETY: as above.
            unsafe { (functions.aio_stat)(self.raw, name.as_ptr(), completion, size, changed) }
        });
    }

    pub(crate) fn remove(&self, name: &CStr, done: Done) {
        let functions = &self.cluster.functions;
        self.start(done, |completion, _| {
            // SAFETY: the library copies the name.
            unsafe { (functions.aio_remove)(self.raw, name.as_ptr(), completion) }
        });
    }

    /// Ends when all changes that were begun before have ended.
    pub(crate) fn flush(&self, done: Done) {
        let functions = &self.cluster.functions;
        self.start(done, |completion, _| {
            // SAFETY: a context and a completion of ours.
            unsafe { (functions.aio_flush_async)(self.raw, completion) }
        });
    }

    pub(crate) fn operate(&self, name: &CStr, change: WriteOp, done: Done) {
        let functions = &self.cluster.functions;
        self.start(done, |completion, _| {
            let (now, flags) = (ptr::null_mut(), 0);
            // SAFETY: the library takes the parts out of the change, and copies the name.
            unsafe {
                (functions.aio_write_op_operate)(
                    change.raw(),
                    self.raw,
                    completion,
                    name.as_ptr(),
                    now,
                    flags,
                )
            }
        });
    }

    /// As [`Context::operate`], on this thread; the object's version after it.
    pub(crate) fn operate_now(&self, name: &CStr, change: WriteOp) -> io::Result<u64> {
        let ended = wait(|done| self.operate(name, change, done));
        ended.result.map(|_| ended.version)
    }

    /// Up to `most` bytes from `offset`, and the object's version, on this thread.
    pub(crate) fn read_now(&self, name: &CStr, offset: u64, most: usize) -> io::Result<(Vec<u8>, u64)> {
        let buffer = Buffer::of(&vec![0; most]);
        let Ended { result, version, .. } = wait(|done| self.read(name, offset, buffer.region(), done));
        let mut bytes = buffer.region().to_vec();
        bytes.truncate(result?);
        Ok((bytes, version))
    }

    /// The object's size, on this thread.
    pub(crate) fn size_now(&self, name: &CStr) -> io::Result<u64> {
        let ended = wait(|done| self.stat(name, done));
        ended.result.map(|_| ended.size)
    }

    /// Whether this client may read and write here, on this thread: asks for what there is not. An OSD that does not answer soon
    /// forbids nothing.
    pub(crate) fn is_allowed_now(&self) -> bool {
        let reads = wait_at_most(RIGHTS_PATIENCE, |done| self.stat(NOBODY, done));
        let nothing = || self.change().assert_exists().truncate(0);
        let writes = wait_at_most(RIGHTS_PATIENCE, |done| self.operate(NOBODY, nothing(), done));
        let is_refused =
            |ended: Ended| ended.result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        ![reads, writes].into_iter().flatten().any(is_refused)
    }

    /// The front of an attribute, on this thread.
    pub(crate) fn attribute_now(&self, name: &CStr, attribute: &CStr, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0_u8; most];
        let into = bytes.as_mut_ptr().cast::<c_char>();
        let functions = &self.cluster.functions;
        // SAFETY: the library writes at most `most` bytes; the texts live longer than the call.
        let count = unsafe { (functions.getxattr)(self.raw, name.as_ptr(), attribute.as_ptr(), into, most) };
        bytes.truncate(checked(count)?);
        Ok(bytes)
    }

    /// Gives the name of every object to `take`, in no order, until that fails.
    pub(crate) fn each_name<E>(
        &self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<io::Result<()>, E> {
        let functions = &self.cluster.functions;
        let mut list: Handle = ptr::null_mut();
        // SAFETY: the library stores a new list in `list`.
        if let Err(error) = checked(unsafe { (functions.nobjects_list_open)(self.raw, &raw mut list) }) {
            return Ok(Err(error));
        }
        let ended = loop {
            let mut name: *const c_char = ptr::null();
            let (key, space) = (ptr::null_mut(), ptr::null_mut());
            // SAFETY: the list that was opened above; it stores a name that stays until the next call.
            let next = unsafe { (functions.nobjects_list_next)(list, &raw mut name, key, space) };
            match checked(next) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => break Ok(Ok(())),
                Err(error) => break Ok(Err(error)),
                Ok(_) => {
                    // SAFETY: the name that was stored just now.
                    let name = unsafe { CStr::from_ptr(name) };
                    if let Err(stopped) = take(name.to_bytes()) {
                        break Err(stopped);
                    }
                }
            }
        };
        // SAFETY: the list that was opened above, closed once.
        unsafe { (functions.nobjects_list_close)(list) };
        ended
    }

    /// Who has a class lock, on this thread. None if nobody has it, or more than one.
    pub(crate) fn holder_now(&self, name: &CStr, lock: &CStr) -> io::Result<Option<Holder>> {
        let mut is_exclusive: c_int = 0;
        let mut texts = [[0_u8; TEXT_BYTES]; 4];
        let mut lens = [TEXT_BYTES; 4];
        let [tag, clients, cookies, addresses] =
            texts.each_mut().map(|text| text.as_mut_ptr().cast::<c_char>());
        let [tag_len, clients_len, cookies_len, addresses_len] = lens.each_mut().map(|len| &raw mut *len);
        let functions = &self.cluster.functions;
        // SAFETY: the library writes at most as many bytes of each text as its length says.
        let count = unsafe {
            (functions.list_lockers)(
                self.raw,
                name.as_ptr(),
                lock.as_ptr(),
                &raw mut is_exclusive,
                tag,
                tag_len,
                clients,
                clients_len,
                cookies,
                cookies_len,
                addresses,
                addresses_len,
            )
        };
        let count = c_int::try_from(count).unwrap_or(-libc::EIO);
        if checked(count)? != 1 {
            return Ok(None);
        }
        let text = |at: usize| CStr::from_bytes_until_nul(&texts[at]).map(CStr::to_owned).unwrap_or_default();
        Ok(Some(Holder { client: text(1), cookie: text(2), address: text(3) }))
    }

    /// Takes a class lock away from its holder, on this thread.
    pub(crate) fn break_lock_now(&self, name: &CStr, lock: &CStr, holder: &Holder) -> io::Result<()> {
        let (client, cookie) = (holder.client.as_ptr(), holder.cookie.as_ptr());
        let functions = &self.cluster.functions;
        // SAFETY: texts that live longer than the call.
        checked(unsafe { (functions.break_lock)(self.raw, name.as_ptr(), lock.as_ptr(), client, cookie) })
            .map(drop)
    }
}

impl Drop for Context {
    /// Waits for operations whose end nobody waits for any more: the library itself does not.
    fn drop(&mut self) {
        std::mem::take(&mut self.under_way).wait();
        // SAFETY: opened in open(); nothing is under way in it, and whoever uses it has it, so nobody does any more.
        unsafe { (self.cluster.functions.ioctx_destroy)(self.raw) };
    }
}
