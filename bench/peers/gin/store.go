package main

import (
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jinzhu/gorm"
	"github.com/lib/pq"
)

var errNotAParticipant = errors.New("the user is not a participant of this conversation")

type sendRequest struct {
	ConversationID  string  `json:"conversationId" binding:"required,uuid"`
	SenderID        string  `json:"senderId"`
	Content         string  `json:"content" binding:"required,max=65536"`
	MessageType     string  `json:"messageType"`
	ClientMessageID *string `json:"clientMessageId"`
}

type user struct {
	ID        string  `json:"id"`
	FirstName string  `json:"firstName"`
	LastName  string  `json:"lastName"`
	AvatarURL *string `json:"avatarUrl"`
}

type message struct {
	ID              string    `json:"id"`
	ConversationID  string    `json:"conversationId"`
	SenderID        string    `json:"senderId"`
	Content         string    `json:"content"`
	MessageType     string    `json:"messageType"`
	IsRead          bool      `json:"isRead"`
	Seq             int64     `json:"seq"`
	ClientMessageID *string   `json:"clientMessageId"`
	CreatedAt       time.Time `json:"createdAt"`
	UpdatedAt       time.Time `json:"updatedAt"`
	Sender          user      `json:"sender" gorm:"foreignkey:SenderID;save_associations:false"`
}

type store struct {
	db *gorm.DB
}

// One transaction: the conversation's row is locked by counting its seq on, so that commits come in its order.
// Returns the first message when the sender repeats a clientMessageId.
func (s *store) send(request *sendRequest) (*message, bool, error) {
	now := time.Now().UTC()
	m := &message{
		ID: uuid.NewString(), ConversationID: request.ConversationID, SenderID: request.SenderID,
		Content: request.Content, MessageType: request.MessageType, ClientMessageID: request.ClientMessageID,
		CreatedAt: now, UpdatedAt: now,
	}
	if m.MessageType == "" {
		m.MessageType = "text"
	}
	tx := s.db.Begin()
	if tx.Error != nil {
		return nil, false, tx.Error
	}
	defer tx.RollbackUnlessCommitted()
	row := tx.Raw(`update conversations set last_seq = last_seq + 1, last_message_id = ?, updated_at = ?
		where id = ? and ? in (participant1_id, participant2_id) returning last_seq`,
		m.ID, now, m.ConversationID, m.SenderID).Row()
	if err := row.Scan(&m.Seq); err != nil {
		return nil, false, errNotAParticipant
	}
	if err := tx.Create(m).Error; err != nil {
		if pqErr, ok := err.(*pq.Error); ok && pqErr.Constraint == "messages_client_message_id" {
			tx.Rollback()
			return s.find("sender_id = ? and client_message_id = ?", m.SenderID, m.ClientMessageID)
		}
		return nil, false, err
	}
	if err := tx.Where("id = ?", m.SenderID).First(&m.Sender).Error; err != nil {
		return nil, false, err
	}
	return m, false, tx.Commit().Error
}

func (s *store) find(where string, args ...interface{}) (*message, bool, error) {
	var found message
	err := s.db.Preload("Sender").Where(where, args...).First(&found).Error
	if gorm.IsRecordNotFoundError(err) {
		return nil, false, err
	}
	return &found, true, err
}
