package main

import (
	"encoding/json"
	"log"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/lib/pq"
)

// Frames that wait for one slow socket before it is closed, as with pgchat.
const queue = 256

var writeBuffers sync.Pool

type frame struct {
	Type      string      `json:"type"`
	Data      interface{} `json:"data"`
	UserID    string      `json:"userId"`
	Timestamp int64       `json:"timestamp"`
}

type hub struct {
	mutex   sync.RWMutex
	clients map[string]map[*client]struct{}
}

type client struct {
	conn *websocket.Conn
	out  chan *websocket.PreparedMessage
	done chan struct{}
	once sync.Once
}

func newHub() *hub {
	return &hub{clients: make(map[string]map[*client]struct{})}
}

func (h *hub) add(user string, conn *websocket.Conn) *client {
	c := &client{conn: conn, out: make(chan *websocket.PreparedMessage, queue), done: make(chan struct{})}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.clients[user] == nil {
		h.clients[user] = make(map[*client]struct{})
	}
	h.clients[user][c] = struct{}{}
	return c
}

func (h *hub) remove(user string, c *client) {
	h.mutex.Lock()
	delete(h.clients[user], c)
	if len(h.clients[user]) == 0 {
		delete(h.clients, user)
	}
	h.mutex.Unlock()
	c.close()
}

// Serialised once for all sockets.
func (h *hub) publish(recipients []string, f frame) {
	text, err := json.Marshal(f)
	if err != nil {
		log.Print(err)
		return
	}
	prepared, err := websocket.NewPreparedMessage(websocket.TextMessage, text)
	if err != nil {
		log.Print(err)
		return
	}
	h.mutex.RLock()
	defer h.mutex.RUnlock()
	for _, user := range recipients {
		for c := range h.clients[user] {
			c.queue(prepared)
		}
	}
}

func (c *client) send(f frame) {
	text, err := json.Marshal(f)
	if err != nil {
		log.Print(err)
		return
	}
	if prepared, err := websocket.NewPreparedMessage(websocket.TextMessage, text); err == nil {
		c.queue(prepared)
	}
}

func (c *client) queue(prepared *websocket.PreparedMessage) {
	select {
	case c.out <- prepared:
	default:
		// Too slow.
		c.conn.Close()
	}
}

func (c *client) close() {
	c.once.Do(func() {
		close(c.done)
		c.conn.Close()
	})
}

func (c *client) write() {
	ping := time.NewTicker(25 * time.Second)
	defer ping.Stop()
	defer c.close()
	for {
		select {
		case <-c.done:
			return
		case prepared := <-c.out:
			if c.conn.WritePreparedMessage(prepared) != nil {
				return
			}
		case <-ping.C:
			deadline := time.Now().Add(5 * time.Second)
			if c.conn.WriteControl(websocket.PingMessage, nil, deadline) != nil {
				return
			}
		}
	}
}

func (s *server) listen(dsn string) error {
	listener := pq.NewListener(dsn, time.Second, time.Minute, func(_ pq.ListenerEventType, err error) {
		if err != nil {
			log.Print(err)
		}
	})
	if err := listener.Listen("chat"); err != nil {
		return err
	}
	go func() {
		for notification := range listener.Notify {
			if notification != nil {
				s.deliver(notification.Extra)
			}
		}
	}()
	return nil
}

func (s *server) deliver(payload string) {
	var event struct {
		ID         string          `json:"id"`
		Recipients []string        `json:"recipients"`
		Message    json.RawMessage `json:"message"`
	}
	if err := json.Unmarshal([]byte(payload), &event); err != nil {
		log.Print(err)
		return
	}
	if event.Message == nil {
		s.deliverByID(event.ID)
		return
	}
	var sender struct {
		SenderID string `json:"senderId"`
	}
	if err := json.Unmarshal(event.Message, &sender); err != nil {
		log.Print(err)
		return
	}
	s.hub.publish(event.Recipients, frame{
		Type: "chat_message", Data: event.Message, UserID: sender.SenderID, Timestamp: time.Now().Unix(),
	})
}

// One that was too large for a notification.
func (s *server) deliverByID(id string) {
	m, _, err := s.store.find("id = ?", id)
	if err != nil {
		log.Print(err)
		return
	}
	var pair struct{ Participant1ID, Participant2ID string }
	err = s.store.db.Raw("select participant1_id, participant2_id from conversations where id = ?", m.ConversationID).
		Scan(&pair).Error
	if err != nil {
		log.Print(err)
		return
	}
	s.hub.publish([]string{pair.Participant1ID, pair.Participant2ID}, frame{
		Type: "chat_message", Data: m, UserID: m.SenderID, Timestamp: time.Now().Unix(),
	})
}
