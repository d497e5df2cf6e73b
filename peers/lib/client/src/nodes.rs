//! Asking who uses the store of maps, and who waits for what.

use protocol::{Message, Node, Nodes, Op};
use xseg::PortNumber;

use crate::client::{garbled, serviced};
use crate::{Client, Failure};

/// Room for all nodes and what they wait for, in bytes.
const NODES_BYTES: u64 = 1 << 20;

impl Client {
    /// Every node that uses the same store of maps, in order of their names.
    ///
    /// # Errors
    /// What the store says.
    pub fn nodes(&mut self) -> Result<Vec<Node>, Failure> {
        let to = PortNumber(self.stack().blocker_maps);
        let reply = self.call(to, Op::Nodes, b"*", NODES_BYTES, |_| Ok(()))?;
        let told = serviced(&reply);
        self.done(reply);
        Ok(Nodes::decode(&told?).map_err(|error| garbled(Op::Nodes, &error))?.nodes)
    }
}
