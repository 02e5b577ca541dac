// Prints the tables as gorm makes them of models like those of the Go service; tests/hosts/sql/gorm.sql is its output.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run main.go postgres://… > ../sql/gorm.sql
//
// gorm is that of Debian 12 (golang-github-jinzhu-gorm-dev 1.9.6), which the peer in bench/ uses, too. The database must be empty.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jinzhu/gorm"
	_ "github.com/lib/pq"
)

type User struct {
	ID        string `gorm:"type:uuid;primary_key;default:gen_random_uuid()"`
	FirstName string
	LastName  string
	Email     string `gorm:"unique;not null"`
	AvatarURL *string
	Role      string `gorm:"type:varchar(20);default:'buyer'"`
	IsActive  bool   `gorm:"default:true"`
	CreatedAt time.Time
	UpdatedAt time.Time
}

type Conversation struct {
	ID             string  `gorm:"type:uuid;primary_key;default:gen_random_uuid()"`
	Participant1ID string  `gorm:"type:uuid;not null;index"`
	Participant2ID string  `gorm:"type:uuid;not null;index"`
	LastMessageID  *string `gorm:"type:uuid"`
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

type Message struct {
	ID             string `gorm:"type:uuid;primary_key;default:gen_random_uuid()"`
	ConversationID string `gorm:"type:uuid;not null;index"`
	SenderID       string `gorm:"type:uuid;not null;index"`
	Content        string `gorm:"type:text;not null"`
	MessageType    string `gorm:"type:varchar(20);default:'text'"`
	IsRead         bool   `gorm:"default:false"`
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

func main() {
	db, err := gorm.Open("postgres", os.Args[1])
	if err != nil {
		panic(err)
	}
	fmt.Println("-- jinzhu/gorm 1.9.6; written by tests/hosts/gorm")
	db.SetLogger(statements{})
	db.LogMode(true)
	db.AutoMigrate(&User{}, &Conversation{}, &Message{})
	db.Model(&Conversation{}).AddForeignKey("participant1_id", "users(id)", "RESTRICT", "CASCADE")
	db.Model(&Conversation{}).AddForeignKey("participant2_id", "users(id)", "RESTRICT", "CASCADE")
	db.Model(&Message{}).AddForeignKey("conversation_id", "conversations(id)", "CASCADE", "CASCADE")
	db.Model(&Message{}).AddForeignKey("sender_id", "users(id)", "RESTRICT", "CASCADE")
}

// statements prints what gorm would log, and nothing around it.
type statements struct{}

func (statements) Print(values ...interface{}) {
	if values[0] != "sql" {
		panic(fmt.Sprint(values...))
	}
	// Look-ups of what is there already are not part of the tables.
	if sql := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(values[3].(string)), ";")); !strings.HasPrefix(sql, "SELECT") {
		fmt.Println(sql + ";")
	}
}
