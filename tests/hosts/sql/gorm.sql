-- jinzhu/gorm 1.9.6; written by tests/hosts/gorm
CREATE TABLE "users" ("id" uuid DEFAULT gen_random_uuid(),"first_name" text,"last_name" text,"email" text NOT NULL UNIQUE,"avatar_url" text,"role" varchar(20) DEFAULT 'buyer',"is_active" boolean DEFAULT true,"created_at" timestamp with time zone,"updated_at" timestamp with time zone , PRIMARY KEY ("id"));
CREATE TABLE "conversations" ("id" uuid DEFAULT gen_random_uuid(),"participant1_id" uuid NOT NULL,"participant2_id" uuid NOT NULL,"last_message_id" uuid,"created_at" timestamp with time zone,"updated_at" timestamp with time zone , PRIMARY KEY ("id"));
CREATE INDEX idx_conversations_participant1_id ON "conversations"(participant1_id);
CREATE INDEX idx_conversations_participant2_id ON "conversations"(participant2_id);
CREATE TABLE "messages" ("id" uuid DEFAULT gen_random_uuid(),"conversation_id" uuid NOT NULL,"sender_id" uuid NOT NULL,"content" text NOT NULL,"message_type" varchar(20) DEFAULT 'text',"is_read" boolean DEFAULT false,"created_at" timestamp with time zone,"updated_at" timestamp with time zone , PRIMARY KEY ("id"));
CREATE INDEX idx_messages_conversation_id ON "messages"(conversation_id);
CREATE INDEX idx_messages_sender_id ON "messages"(sender_id);
ALTER TABLE "conversations" ADD CONSTRAINT conversations_participant1_id_users_id_foreign FOREIGN KEY (participant1_id) REFERENCES users(id) ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "conversations" ADD CONSTRAINT conversations_participant2_id_users_id_foreign FOREIGN KEY (participant2_id) REFERENCES users(id) ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "messages" ADD CONSTRAINT messages_conversation_id_conversations_id_foreign FOREIGN KEY (conversation_id) REFERENCES conversations(id) ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "messages" ADD CONSTRAINT messages_sender_id_users_id_foreign FOREIGN KEY (sender_id) REFERENCES users(id) ON DELETE RESTRICT ON UPDATE CASCADE;
