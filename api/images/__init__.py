"""An upload on its way in: multipart, base64, sniffing and the image store. Nothing here asks a worker."""
