"""Parts that several pages share: styles, charts, images, the relation explorer."""
