
export { upload, uploadAll, GalileoSend, UploadError };
