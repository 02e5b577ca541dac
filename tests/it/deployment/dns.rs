//! A name server for one name, as a container engine or an orchestrator runs one: it knows which replicas there are.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;

/// Header and counts: RFC 1035, section 4.1.1.
const HEADER: usize = 12;

pub struct NameServer {
    pub port: u16,
    addresses: Arc<Mutex<Vec<Ipv4Addr>>>,
    _answering: AbortOnDropHandle<()>,
}

impl NameServer {
    /// Answers every question for an address (type A) with `addresses`, whatever the name.
    pub async fn start(addresses: &[Ipv4Addr]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a UDP port");
        let port = socket.local_addr().expect("its address").port();
        let addresses = Arc::new(Mutex::new(addresses.to_vec()));
        let known = addresses.clone();
        let answering = tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, asker)) = socket.recv_from(&mut question).await {
                let known = known.lock().expect("the addresses").clone();
                if let Some(answer) = answer(&question[..length], &known) {
                    // Who has gone by now is not told.
                    let _ = socket.send_to(&answer, asker).await;
                }
            }
        });
        Self {
            port,
            addresses,
            _answering: AbortOnDropHandle::new(answering),
        }
    }

    pub fn add(&self, address: Ipv4Addr) {
        self.addresses.lock().expect("the addresses").push(address);
    }

    pub fn remove(&self, address: Ipv4Addr) {
        let mut addresses = self.addresses.lock().expect("the addresses");
        addresses.retain(|known| *known != address);
    }
}

/// `None` for what is no question.
fn answer(question: &[u8], addresses: &[Ipv4Addr]) -> Option<Vec<u8>> {
    let labels = question.get(HEADER..)?;
    let name = labels.iter().position(|byte| *byte == 0)? + 1;
    // The name, its type and its class.
    let asked = labels.get(..name + 4)?;
    let count = u16::try_from(addresses.len()).ok()?;
    let mut answer = question.get(..2)?.to_vec();
    // A response, with recursion, to one question.
    answer.extend([0x81, 0x80, 0, 1]);
    answer.extend(count.to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(asked);
    for address in addresses {
        // The name asked for, type A, class IN, to be kept for a second, four bytes.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
