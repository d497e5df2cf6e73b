//! The played store: objects, and what of them would survive a loss of power.

use std::collections::BTreeMap;

use protocol::{ErrorKind, Flags, Op};
use xseg::Held;

use super::maps::Maps;

#[derive(Default)]
pub(super) struct Disk {
    pub(super) objects: BTreeMap<Vec<u8>, Object>,
}

#[derive(Clone, Default)]
pub(super) struct Object {
    pub(super) now: Vec<u8>,
    pub(super) durable: Option<Vec<u8>>,
}

impl Object {
    pub(super) fn sync(&mut self) {
        self.durable = Some(self.now.clone());
    }
}

impl Disk {
    pub(super) fn serve(&mut self, op: Op, request: &mut Held, maps: &Maps) -> Result<(), ErrorKind> {
        let flags = Flags::from_bits_truncate(request.flags());
        if flags.contains(Flags::FENCED) && !maps.is_current(request.argument().as_ref(), request.fence()) {
            return Err(ErrorKind::NotOwner);
        }
        let is_change = matches!(op, Op::Write | Op::Discard | Op::WriteZeroes);
        assert!(!is_change || flags.contains(Flags::FENCED), "every change is fenced");
        let name = request.target().as_ref().to_vec();
        let (offset, size) = (index(request.offset()), index(request.size()));
        if op == Op::Flush {
            self.objects.values_mut().for_each(Object::sync);
            return Ok(());
        }
        let object = self.objects.get_mut(&name).ok_or(ErrorKind::NotFound)?;
        match op {
            Op::Sync => object.sync(),
            Op::Read => {
                let mut bytes: Vec<u8> = object.now.iter().skip(offset).take(size).copied().collect();
                bytes.resize(size, 0);
                request.write(0, &bytes).unwrap();
            }
            Op::Write | Op::Discard | Op::WriteZeroes => {
                let mut bytes = vec![0; size];
                if op == Op::Write {
                    request.read(0, &mut bytes).unwrap();
                }
                let length = object.now.len().max(offset + size);
                object.now.resize(length, 0);
                object.now[offset..offset + size].copy_from_slice(&bytes);
            }
            other => panic!("the store is not asked to {}", other.name()),
        }
        if flags.contains(Flags::FUA) {
            object.sync();
        }
        request.set_serviced(request.size());
        Ok(())
    }
}

pub(super) fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}
