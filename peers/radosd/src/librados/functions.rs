//! The functions of the library, found by name when it is opened.

use std::io;

use libc::{c_char, c_int, c_void, size_t, time_t};
use libloading::Library;

/// The Debian package that has the library.
pub(crate) const PACKAGE: &str = "librados2";
/// The library: its C interface has been version 2 throughout.
const LIBRARY: &str = "librados.so.2";

/// `rados_t`, `rados_ioctx_t`, `rados_completion_t`, `rados_list_ctx_t`, `rados_write_op_t`: all of them opaque.
pub(super) type Handle = *mut c_void;
pub(super) type Completed = extern "C" fn(Handle, *mut c_void);
pub(super) type Notified = extern "C" fn(*mut c_void, u64, u64, u64, *mut c_void, size_t);
pub(super) type WatchFailed = extern "C" fn(*mut c_void, u64, c_int);
/// `ObjectWriteOperation::copy_from`, the one function that has no C name. See docs/decisions/0016-librados-at-run-time.md.
pub(super) type CopyFrom =
    unsafe extern "C" fn(*const Operation, *const Text, *const Handle, version: u64, flags: u32);

/// A `librados::ObjectOperation` as a member function sees it: a table of virtual functions, which `copy_from` does not
/// use, and the operation itself, which is what the C interface calls `rados_write_op_t`.
#[repr(C)]
pub(super) struct Operation {
    pub(super) virtual_table: *const c_void,
    pub(super) operation: Handle,
    pub(super) unused: *const c_void,
}

/// A `std::string` that somebody else owns, for a function that only reads it.
#[repr(C)]
pub(super) struct Text {
    pub(super) bytes: *const c_char,
    pub(super) len: size_t,
    pub(super) capacity: [size_t; 2],
}

const COPY_FROM: &str = "_ZN8librados7v14_2_020ObjectWriteOperation9copy_fromERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEERKNS0_5IoCtxEmj";

macro_rules! functions {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The library, opened.
        pub(crate) struct Functions {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            pub(super) blocklist_add: unsafe extern "C" fn(Handle, *const c_char, u32) -> c_int,
            pub(super) copy_from: CopyFrom,
            /// Keeps the functions where they are.
            _library: Library,
        }

        impl Functions {
            fn find(library: Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    $($name: symbol(&library, concat!("rados_", stringify!($name)))?,)*
                    blocklist_add: symbol(&library, "rados_blocklist_add")
                        .or_else(|_| symbol(&library, "rados_blacklist_add"))?,
                    copy_from: symbol(&library, COPY_FROM)?,
                    _library: library,
                })
            }
        }
    };
}

functions! {
    create(*mut Handle, *const c_char) -> c_int;
    conf_read_file(Handle, *const c_char) -> c_int;
    conf_set(Handle, *const c_char, *const c_char) -> c_int;
    connect(Handle) -> c_int;
    shutdown(Handle);
    getaddrs(Handle, *mut *mut c_char) -> c_int;
    buffer_free(*mut c_char);
    wait_for_latest_osdmap(Handle) -> c_int;
    mon_command(
        Handle, *const *const c_char, size_t, *const c_char, size_t, *mut *mut c_char, *mut size_t,
        *mut *mut c_char, *mut size_t
    ) -> c_int;
    ioctx_create(Handle, *const c_char, *mut Handle) -> c_int;
    ioctx_destroy(Handle);
    ioctx_set_namespace(Handle, *const c_char);
    set_pool_full_try(Handle);
    aio_create_completion2(*mut c_void, Option<Completed>, *mut Handle) -> c_int;
    aio_get_return_value(Handle) -> c_int;
    aio_get_version(Handle) -> u64;
    aio_release(Handle);
    aio_read(Handle, *const c_char, Handle, *mut c_char, size_t, u64) -> c_int;
    aio_stat(Handle, *const c_char, Handle, *mut u64, *mut time_t) -> c_int;
    aio_remove(Handle, *const c_char, Handle) -> c_int;
    aio_flush_async(Handle, Handle) -> c_int;
    aio_write_op_operate(Handle, Handle, Handle, *const c_char, *mut time_t, c_int) -> c_int;
    create_write_op() -> Handle;
    release_write_op(Handle);
    write_op_create(Handle, c_int, *const c_char);
    write_op_assert_exists(Handle);
    write_op_assert_version(Handle, u64);
    write_op_write(Handle, *const c_char, size_t, u64);
    write_op_write_full(Handle, *const c_char, size_t);
    write_op_truncate(Handle, u64);
    write_op_zero(Handle, u64, u64);
    nobjects_list_open(Handle, *mut Handle) -> c_int;
    nobjects_list_next(Handle, *mut *const c_char, *mut *const c_char, *mut *const c_char) -> c_int;
    nobjects_list_close(Handle);
    getxattr(Handle, *const c_char, *const c_char, *mut c_char, size_t) -> c_int;
    list_lockers(
        Handle, *const c_char, *const c_char, *mut c_int, *mut c_char, *mut size_t, *mut c_char, *mut size_t,
        *mut c_char, *mut size_t, *mut c_char, *mut size_t
    ) -> libc::ssize_t;
    break_lock(Handle, *const c_char, *const c_char, *const c_char, *const c_char) -> c_int;
    watch3(Handle, *const c_char, *mut u64, Notified, Option<WatchFailed>, u32, *mut c_void) -> c_int;
    unwatch2(Handle, u64) -> c_int;
    watch_flush(Handle) -> c_int;
    notify2(Handle, *const c_char, *const c_char, c_int, u64, *mut *mut c_char, *mut size_t) -> c_int;
    notify_ack(Handle, *const c_char, u64, u64, *const c_char, c_int) -> c_int;
}

impl Functions {
    /// Opens the library.
    ///
    /// # Errors
    /// What the loader says.
    pub(crate) fn load() -> io::Result<Self> {
        // SAFETY: Ceph's library runs nothing when it is loaded but the constructors of its own globals.
        let library = unsafe { Library::new(LIBRARY) };
        library.and_then(Self::find).map_err(io::Error::other)
    }
}

fn symbol<F: Copy>(library: &Library, name: &str) -> Result<F, libloading::Error> {
    // SAFETY: the types above are those of rados/librados.h and librados.hpp, which this version of the library promises.
    let found = unsafe { library.get::<F>(name.as_bytes()) };
    found.map(|function| *function)
}
