// The chat service that many teams have: Gin, gorilla/websocket, GORM, a row trigger that notifies, and a pq.Listener in
// each replica. Sending is one transaction for each message. Same routes, frames and durability as pgchat for what the
// benchmark does.
package main

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/gorilla/websocket"
	"github.com/jinzhu/gorm"
	_ "github.com/jinzhu/gorm/dialects/postgres"
)

// Connections of one replica to the database. More of them make it slower: they all wait for one lock.
const poolSize = 16

type server struct {
	store *store
	hub   *hub
}

func main() {
	dsn := fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=disable",
		os.Getenv("DB_HOST"), os.Getenv("DB_PORT"), os.Getenv("DB_USER"), os.Getenv("DB_NAME"))
	db, err := gorm.Open("postgres", dsn)
	if err != nil {
		log.Fatal(err)
	}
	db.LogMode(false)
	db.DB().SetMaxOpenConns(poolSize)
	db.DB().SetMaxIdleConns(poolSize)
	s := &server{store: &store{db: db}, hub: newHub()}
	if err := s.listen(dsn); err != nil {
		log.Fatal(err)
	}

	router := gin.New()
	router.Use(gin.Recovery())
	router.GET("/health/ready", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) })
	router.POST("/api/v1/chat/messages", s.postMessage)
	router.GET("/ws", s.socket)
	log.Fatal(router.Run("127.0.0.1:" + os.Getenv("SERVER_PORT")))
}

func (s *server) postMessage(c *gin.Context) {
	var request sendRequest
	if err := c.ShouldBindJSON(&request); err != nil {
		c.JSON(http.StatusBadRequest, gin.H{"statusCode": 400, "error": "Bad Request", "message": err.Error()})
		return
	}
	message, repeated, err := s.store.send(&request)
	switch {
	case errors.Is(err, errNotAParticipant):
		c.JSON(http.StatusForbidden, gin.H{"statusCode": 403, "error": "Forbidden", "message": err.Error()})
	case err != nil:
		log.Print(err)
		c.JSON(http.StatusServiceUnavailable, gin.H{"statusCode": 503, "error": "Service Unavailable"})
	case repeated:
		c.JSON(http.StatusOK, message)
	default:
		c.JSON(http.StatusCreated, message)
	}
}

var upgrader = websocket.Upgrader{
	ReadBufferSize:  1024,
	WriteBufferSize: 1024,
	WriteBufferPool: &writeBuffers,
	CheckOrigin:     func(*http.Request) bool { return true },
}

func (s *server) socket(c *gin.Context) {
	user := c.Query("user_id")
	conn, err := upgrader.Upgrade(c.Writer, c.Request, nil)
	if err != nil {
		return
	}
	client := s.hub.add(user, conn)
	go client.write()
	client.send(frame{Type: "connected", UserID: user, Timestamp: time.Now().Unix()})
	s.read(client, user)
	s.hub.remove(user, client)
}

// Commands of one client are carried out one after another, so that they are stored in order.
func (s *server) read(client *client, user string) {
	for {
		var command struct {
			Type      string      `json:"type"`
			RequestID string      `json:"requestId"`
			Data      sendRequest `json:"data"`
		}
		if err := client.conn.ReadJSON(&command); err != nil {
			return
		}
		answer := frame{Type: "ack", UserID: user, Timestamp: time.Now().Unix()}
		if command.Type != "send_message" {
			answer.Type = "error"
			answer.Data = gin.H{"requestId": command.RequestID, "code": "not_supported"}
		} else {
			command.Data.SenderID = user
			message, _, err := s.store.send(&command.Data)
			if err != nil {
				log.Print(err)
				answer.Type = "error"
				answer.Data = gin.H{"requestId": command.RequestID, "code": "unavailable", "message": err.Error()}
			} else {
				answer.Data = gin.H{"requestId": command.RequestID, "message": message}
			}
		}
		client.send(answer)
	}
}
