BEGIN TRANSACTION;
CREATE TABLE files (name TEXT PRIMARY KEY, user TEXT NOT NULL, bytes INTEGER NOT NULL, stored REAL DEFAULT 0, sha1 TEXT, sent TEXT, folder TEXT, place TEXT NOT NULL DEFAULT '', modified INTEGER, upload TEXT, expires REAL, ticket TEXT, meta TEXT);
INSERT INTO "files" VALUES('a.txt','anna',100,1790000000.0,'sha1 of a.txt','a.txt',NULL,'a.txt',1700000000000,'u0',NULL,NULL,NULL);
CREATE TABLE folders (path TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO "folders" VALUES('folder');
CREATE TABLE holdings (
        user TEXT PRIMARY KEY,
        bytes INTEGER NOT NULL, files INTEGER NOT NULL,
        reserved INTEGER NOT NULL, uploads INTEGER NOT NULL
    , kept INTEGER NOT NULL DEFAULT 0, kept_uploads INTEGER NOT NULL DEFAULT 0);
INSERT INTO "holdings" VALUES('anna',100,1,0,0,0,0);
INSERT INTO "holdings" VALUES('bert',0,0,30,1,0,0);
INSERT INTO "holdings" VALUES('carl',0,0,0,0,40,1);
CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL, receipt TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, due REAL
    , kind TEXT NOT NULL DEFAULT 'stored');
INSERT INTO "outbox" VALUES(1,'a.txt','{"id": "1"}',0,1790000000.0,'stored');
CREATE TABLE stored_uploads (
        number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,
        metadata TEXT NOT NULL, name TEXT NOT NULL, until REAL NOT NULL
    );
CREATE TABLE tickets (id TEXT PRIMARY KEY, until REAL NOT NULL, key TEXT) WITHOUT ROWID;
INSERT INTO "tickets" VALUES('ticket',1800000000.0,'key of u2');
CREATE TABLE totals (
        bytes INTEGER NOT NULL, files INTEGER NOT NULL,
        reserved INTEGER NOT NULL, uploads INTEGER NOT NULL,
        kept INTEGER NOT NULL, kept_uploads INTEGER NOT NULL
    );
INSERT INTO "totals" VALUES(100,1,30,1,40,1);
CREATE TABLE uploads (
        upload TEXT PRIMARY KEY, user TEXT NOT NULL, bytes INTEGER NOT NULL
    , inode INTEGER, receipt TEXT, key TEXT, metadata TEXT, name TEXT, path TEXT, on_conflict TEXT, durability TEXT, authenticated INTEGER, began REAL, durable INTEGER, boot TEXT, offset INTEGER, until REAL, sha1 TEXT, sent TEXT, folder TEXT, place TEXT, modified INTEGER, retention REAL, ticket TEXT, meta TEXT);
INSERT INTO "uploads" VALUES('u1','bert',30,X'343731313A39','{"id": "2"}','key of u1','metadata of key of u1','u1.bin','folder/u1.bin','reject','full',1,1790000000.0,30,'boot-1',NULL,NULL,NULL,'u1.bin','folder','folder/u1.bin',NULL,NULL,NULL,NULL);
INSERT INTO "uploads" VALUES('u2','carl',100,NULL,NULL,'key of u2','metadata of key of u2','u2.bin','folder/u2.bin','reject','full',1,1790000000.0,30,'boot-1',40,1790086400.0,NULL,'u2.bin','folder','folder/u2.bin',NULL,NULL,NULL,NULL);
CREATE INDEX tickets_by_until ON tickets (until);
CREATE INDEX tickets_by_key ON tickets (key) WHERE key IS NOT NULL;
CREATE UNIQUE INDEX uploads_by_key ON uploads (key) WHERE key IS NOT NULL;
CREATE INDEX kept_by_until ON uploads (until, upload) WHERE offset IS NOT NULL;
CREATE INDEX kept_by_user ON uploads (user, authenticated, offset) WHERE offset IS NOT NULL;
CREATE INDEX stored_uploads_by_until ON stored_uploads (until);
CREATE TRIGGER file_added AFTER INSERT ON files BEGIN
        INSERT INTO holdings VALUES (new.user, new.bytes, 1, 0, 0, 0, 0) ON CONFLICT (user) DO
        UPDATE SET bytes = bytes + new.bytes, files = files + 1;
        UPDATE totals SET bytes = bytes + new.bytes, files = files + 1;
    END;
CREATE TRIGGER file_removed AFTER DELETE ON files BEGIN
        UPDATE holdings SET bytes = bytes - old.bytes, files = files - 1 WHERE user = old.user;
        UPDATE totals SET bytes = bytes - old.bytes, files = files - 1;
    END;
CREATE TRIGGER upload_added AFTER INSERT ON uploads WHEN new.offset IS NULL BEGIN
        INSERT INTO holdings VALUES (new.user, 0, 0, new.bytes, 1, 0, 0) ON CONFLICT (user) DO
        UPDATE SET reserved = reserved + new.bytes, uploads = uploads + 1;
        UPDATE totals SET reserved = reserved + new.bytes, uploads = uploads + 1;
    END;
CREATE TRIGGER upload_removed AFTER DELETE ON uploads WHEN old.offset IS NULL BEGIN
        UPDATE holdings SET reserved = reserved - old.bytes, uploads = uploads - 1
        WHERE user = old.user;
        UPDATE totals SET reserved = reserved - old.bytes, uploads = uploads - 1;
    END;
CREATE TRIGGER upload_kept AFTER UPDATE OF offset ON uploads
    WHEN old.offset IS NULL AND new.offset IS NOT NULL BEGIN
        UPDATE holdings SET reserved = reserved - old.bytes, uploads = uploads - 1,
            kept = kept + new.offset, kept_uploads = kept_uploads + 1
        WHERE user = old.user;
        UPDATE totals SET reserved = reserved - old.bytes, uploads = uploads - 1,
            kept = kept + new.offset, kept_uploads = kept_uploads + 1;
    END;
CREATE TRIGGER upload_resumed AFTER UPDATE OF offset ON uploads
    WHEN old.offset IS NOT NULL AND new.offset IS NULL BEGIN
        UPDATE holdings SET reserved = reserved + new.bytes, uploads = uploads + 1,
            kept = kept - old.offset, kept_uploads = kept_uploads - 1
        WHERE user = old.user;
        UPDATE totals SET reserved = reserved + new.bytes, uploads = uploads + 1,
            kept = kept - old.offset, kept_uploads = kept_uploads - 1;
    END;
CREATE TRIGGER kept_removed AFTER DELETE ON uploads WHEN old.offset IS NOT NULL BEGIN
        UPDATE holdings SET kept = kept - old.offset, kept_uploads = kept_uploads - 1
        WHERE user = old.user;
        UPDATE totals SET kept = kept - old.offset, kept_uploads = kept_uploads - 1;
    END;
CREATE INDEX files_by_user ON files (user, place);
CREATE INDEX files_by_time ON files (expires IS NOT NULL, stored);
CREATE INDEX files_by_expiry ON files (expires) WHERE expires IS NOT NULL;
CREATE TRIGGER file_resized AFTER UPDATE OF bytes ON files BEGIN
        UPDATE holdings SET bytes = bytes - old.bytes + new.bytes WHERE user = new.user;
        UPDATE totals SET bytes = bytes - old.bytes + new.bytes;
    END;
CREATE INDEX outbox_by_kind ON outbox (kind, due);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('outbox',1);
COMMIT;
PRAGMA user_version = 6;
