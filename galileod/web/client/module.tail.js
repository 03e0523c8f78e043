
export { upload, uploadAll, unfinished, GalileoSend, UploadError };
