//! One conversation: from the request to its answer.

use std::rc::Rc;

use protocol::{ErrorKind, Failure, Flags, Op};
use xseg::Held;

use crate::{
    asked::{Answer, Asked},
    failure::stopping,
    service::Service,
};

/// Serves a request and answers it.
pub(crate) async fn serve(service: Rc<Service>, mut request: Held) {
    let result = match Asked::of(&request) {
        Ok(asked) => {
            let given_up = || Err(stopping(&asked.name));
            let result = service.giving_up.or(service.perform(&asked)).await.unwrap_or_else(given_up);
            log(&asked, &result);
            result
        }
        Err(failure) => Err(failure),
    };
    let filled = result.and_then(|answer| answer.fill(&mut request));
    service.tasks.effects().respond(request, filled.as_ref().copied());
}

impl Service {
    pub(crate) async fn perform(&self, asked: &Asked) -> Result<Answer, Failure> {
        match asked.op {
            Op::List => return self.list(asked).await,
            Op::Collect => return self.collector.step(asked).await,
            Op::Check => return self.check(asked).await,
            Op::Info => return self.info(asked).await,
            _ => {}
        }
        let volume = self.volumes.get(&asked.name);
        let result = match asked.op {
            Op::Clone => self.clone_volume(asked, &volume).await,
            Op::Create => self.create(asked, &volume).await,
            Op::Delete => self.delete(asked, &volume).await,
            Op::Snapshot => self.snapshot(asked, &volume).await,
            Op::Rename => self.rename(asked, &volume).await,
            Op::Resize => self.resize(asked, &volume).await,
            Op::Open if asked.flags.contains(Flags::LOOK) => self.look_at_lock(&volume.name).await,
            Op::Open => self.open_volume(&volume).await,
            Op::Close => self.close_volume(asked, &volume).await,
            Op::MapRead => self.map_read(asked, &volume).await,
            Op::MapWrite => self.map_write(asked, &volume).await,
            Op::MapPunch => self.map_punch(asked, &volume).await,
            Op::Commit => self.commit(&volume).await,
            Op::Hash => self.hash(asked, &volume).await,
            Op::Compare => self.compare(asked, &volume).await,
            Op::Update => self.update(asked, &volume).await,
            other => Err(unserved(other)),
        };
        self.end_own_rename(&volume).await;
        self.volumes.used(volume);
        result
    }
}

fn unserved(op: Op) -> Failure {
    Failure::new(ErrorKind::Unsupported, format!("a mapper does not serve {}", op.name()))
}

/// What people may have to act on; that a volume is missing or taken is for the requester alone.
fn log(asked: &Asked, result: &Result<Answer, Failure>) {
    let (volume, op) = (&asked.name, asked.op.name());
    match result {
        Err(failure)
            if matches!(failure.kind, ErrorKind::Corrupt | ErrorKind::Unavailable | ErrorKind::NotOwner) =>
        {
            tracing::warn!(%volume, op, error = %failure, "request failed");
        }
        Err(failure) => tracing::debug!(%volume, op, error = %failure, "request failed"),
        Ok(_) => tracing::debug!(%volume, op, "request served"),
    }
}
