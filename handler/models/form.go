package models

import (
	"io"
	"mime"
	"mime/multipart"
)

// ReadForm returns the field "model" of a multipart form, as http.Request.FormValue
// does: the first one that is not a file, "" if there is none. If the body is not a
// multipart form, or the value has more than 4 KiB, ReadForm returns [ErrUnreadable].
func ReadForm(contentType string, body io.Reader) (string, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != "multipart/form-data" || params["boundary"] == "" {
		return "", ErrUnreadable
	}
	form := multipart.NewReader(body, params["boundary"])
	for {
		part, err := form.NextPart()
		if err == io.EOF {
			return "", nil
		}
		if err != nil {
			return "", ErrUnreadable
		}
		if part.FormName() == "model" && part.FileName() == "" {
			value, err := io.ReadAll(io.LimitReader(part, maxNameValue+1))
			if err != nil || len(value) > maxNameValue {
				return "", ErrUnreadable
			}
			return string(value), nil
		}
	}
}
