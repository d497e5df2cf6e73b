//! Two hosts on one directory that an NFS server exports: a kernel's own server and clients, in a virtual machine.
//!
//! The test boots the machine, and there runs itself again: [`story`] is what happens inside.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod machine;
mod story;

#[test]
fn two_hosts_on_one_nfs_server_have_what_the_file_store_promises() {
    if machine::is_inside() {
        story::tell();
    } else {
        machine::boot("two_hosts_on_one_nfs_server_have_what_the_file_store_promises");
    }
}
