BEGIN TRANSACTION;
CREATE TABLE files (name TEXT PRIMARY KEY, user TEXT NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO "files" VALUES('a.txt','anna',100);
CREATE TABLE holdings (
        user TEXT PRIMARY KEY,
        bytes INTEGER NOT NULL, files INTEGER NOT NULL,
        reserved INTEGER NOT NULL, uploads INTEGER NOT NULL
    );
INSERT INTO "holdings" VALUES('anna',100,1,0,0);
INSERT INTO "holdings" VALUES('bert',0,0,30,1);
CREATE TABLE uploads (
        upload TEXT PRIMARY KEY, user TEXT NOT NULL, bytes INTEGER NOT NULL
    );
INSERT INTO "uploads" VALUES('u2','bert',30);
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
COMMIT;
PRAGMA user_version = 1;
