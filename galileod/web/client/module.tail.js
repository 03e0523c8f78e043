
export { upload, GalileoSend, UploadError };
