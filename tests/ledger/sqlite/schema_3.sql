BEGIN TRANSACTION;
CREATE TABLE files (name TEXT PRIMARY KEY, user TEXT NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO "files" VALUES('a.txt','anna',100);
CREATE TABLE holdings (
        user TEXT PRIMARY KEY,
        bytes INTEGER NOT NULL, files INTEGER NOT NULL,
        reserved INTEGER NOT NULL, uploads INTEGER NOT NULL
    );
INSERT INTO "holdings" VALUES('anna',100,1,5,1);
INSERT INTO "holdings" VALUES('bert',0,0,30,1);
CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL, receipt TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, due REAL
    );
INSERT INTO "outbox" VALUES(1,'a.txt','{"id": "1", "upload": "u1"}',1,8.93626190399945189747e+04);
CREATE TABLE tickets (id TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
INSERT INTO "tickets" VALUES('ticket-1',1.79586845765846276276e+09);
CREATE TABLE uploads (
        upload TEXT PRIMARY KEY, user TEXT NOT NULL, bytes INTEGER NOT NULL
    , inode INTEGER, receipt TEXT);
INSERT INTO "uploads" VALUES('u2','bert',30,4711,'{"id": "2", "upload": "u2"}');
INSERT INTO "uploads" VALUES('u3','anna',5,NULL,NULL);
CREATE TRIGGER file_added AFTER INSERT ON files BEGIN
        INSERT INTO holdings VALUES (new.user, new.bytes, 1, 0, 0) ON CONFLICT (user) DO
        UPDATE SET bytes = bytes + new.bytes, files = files + 1;
    END;
CREATE TRIGGER file_removed AFTER DELETE ON files BEGIN
        UPDATE holdings SET bytes = bytes - old.bytes, files = files - 1 WHERE user = old.user;
    END;
CREATE TRIGGER upload_added AFTER INSERT ON uploads BEGIN
        INSERT INTO holdings VALUES (new.user, 0, 0, new.bytes, 1) ON CONFLICT (user) DO
        UPDATE SET reserved = reserved + new.bytes, uploads = uploads + 1;
    END;
CREATE TRIGGER upload_removed AFTER DELETE ON uploads BEGIN
        UPDATE holdings SET reserved = reserved - old.bytes, uploads = uploads - 1
        WHERE user = old.user;
    END;
CREATE INDEX outbox_by_due ON outbox (due) WHERE due IS NOT NULL;
CREATE INDEX tickets_by_until ON tickets (until);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('outbox',1);
COMMIT;
PRAGMA user_version = 3;
